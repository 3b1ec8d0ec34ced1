"""The only room that talks to agents, and the only one that knows the Agent Client Protocol."""
