"""What several test folders need: a real gateway process, and ways to wait for it."""
