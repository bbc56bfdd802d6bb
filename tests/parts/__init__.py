"""The real parts that tests marked `real` run on, and how they get onto this machine. Stdlib only: it runs with no venv."""
