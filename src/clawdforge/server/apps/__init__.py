"""Apps: who may ask, and a note of what was asked."""
