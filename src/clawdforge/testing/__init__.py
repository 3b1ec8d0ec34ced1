"""Programs and fixtures for testing clawdforge and what is built on it. Importing this loads none of them."""
