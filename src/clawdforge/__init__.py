"""clawdforge: coding agents as a service on your own machine."""
