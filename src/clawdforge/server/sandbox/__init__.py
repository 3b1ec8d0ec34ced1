"""The wall around a session: how an agent's process is kept from all that is not its own."""
