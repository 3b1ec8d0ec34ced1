"""The SDK: an app's way to its gateway, for threads (`forge`) and for event loops (`aio`).

What is sent, how it is read, when it is tried again and where a stream stands is written once, without I/O, as
flows (`_flow`, `_streams`, …); `_requests` and `_httpx` perform them, and each twin stands on one of the two. This
room must not import anything of the gateway.
"""
