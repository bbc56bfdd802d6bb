"""`bin/bench`: how fast it is, each figure beside a bare baseline of the same kind, in one run."""
