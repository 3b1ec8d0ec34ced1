"""The event log: what happened in a session, in order, stored before anyone sees it."""
