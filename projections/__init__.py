"""What we know, folded from the log. Imports `events` only."""
