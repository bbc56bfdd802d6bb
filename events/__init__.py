"""What happened, and the log that keeps it. Imports nothing of ours."""
