"""The heart: sessions and their turns. Knows no HTTP, no SQL and no ACP."""
