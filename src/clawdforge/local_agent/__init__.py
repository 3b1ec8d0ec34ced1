"""The embedded default agent: ACP over a small language model that runs on this CPU, offline, without a login.

A program of its own (`python -m clawdforge.local_agent`); it imports nothing of the gateway.
"""
