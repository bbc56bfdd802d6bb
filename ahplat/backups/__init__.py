"""Backups of the platform itself: log and keys, as pairs; how they are made, proved, and put back."""
