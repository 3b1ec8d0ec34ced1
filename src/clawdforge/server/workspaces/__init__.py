"""Workspaces: the sessions' directories, and what may happen in them. Knows no session and no HTTP."""
