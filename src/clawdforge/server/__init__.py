"""The gateway. Rooms import one way only; see ARCHITECTURE.md."""
