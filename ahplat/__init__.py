"""What we decide and do: commands, effects, engines, HTTP. Imports `projections` and `events`."""
