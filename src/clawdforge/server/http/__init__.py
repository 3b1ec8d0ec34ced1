"""The gateway's HTTP room, and the only one that knows HTTP.

Its doors, outermost first: `limits` (a connection's bytes), `problems` (every error's answer), `openapi` (routes),
`auth` (who asks, and from where), `body` and `multipart` (what comes in). The routes stand behind them. Nothing
here may speak SQL, know ACP, or keep state beyond a request.
"""
