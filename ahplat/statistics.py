"""What the writer counts. Metrics read this and nothing else."""

from bisect import bisect_left

from msgspec import Struct, field

COMMIT_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class Statistics(Struct):
    """Counts since the start; `commits_within` has one more than COMMIT_BOUNDS_S, for what took longer."""

    batches: int = 0
    commands: int = 0
    events: int = 0
    rejected: int = 0
    largest_batch: int = 0
    replayed: int = 0  # commands answered from an idempotency key
    commit_s: float = 0.0  # in all
    commits_within: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS_S) + 1))

    def decided(self, commands: int, rejected: int, replayed: int, events: int) -> None:
        """One batch came to its end."""
        self.batches += 1
        self.commands += commands
        self.events += events
        self.rejected += rejected
        self.replayed += replayed
        self.largest_batch = max(self.largest_batch, commands)

    def committed(self, took_s: float) -> None:
        """One COMMIT of the log took so long."""
        self.commit_s += took_s
        self.commits_within[bisect_left(COMMIT_BOUNDS_S, took_s)] += 1
