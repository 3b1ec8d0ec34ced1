"""The contract between app and gateway, as values that both sides read.

Frozen slotted stdlib dataclasses and pure functions. This room must not do I/O and must not import
anything but the standard library and `clawdforge.errors`.
"""
