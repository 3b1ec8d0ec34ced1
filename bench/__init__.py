"""Measures clawdforge against the numbers that it promises: ratios and differences of one run, never one alone.

Run it by `make bench`; it writes RESULTS.md. Nothing here is a test: a slow machine makes no failure.
"""
