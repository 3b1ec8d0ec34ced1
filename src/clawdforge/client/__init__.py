"""The SDK: an app's way to its gateway.

Only `forge` does I/O; `_call` says what to send and `_api` reads what came, so that another driver can stand
on the same two. This room must not import anything of the gateway.
"""
