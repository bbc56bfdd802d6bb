"""Where instances run: one port, several engines."""
