"""What the writer and the edge count. Metrics read this and nothing else."""

from bisect import bisect_left

from msgspec import Struct, field

COMMIT_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
REQUEST_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class Durations:
    """How long something took, counted by bounds; `within` has one more than there are, for what took longer."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.within = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def add(self, took_s: float) -> None:
        """One more."""
        self.sum_s += took_s
        self.within[bisect_left(self.bounds_s, took_s)] += 1


class Statistics(Struct):
    """Counts of the writer since the start."""

    batches: int = 0
    commands: int = 0
    events: int = 0
    rejected: int = 0
    largest_batch: int = 0
    replayed: int = 0  # commands answered from an idempotency key
    commits: Durations = field(default_factory=lambda: Durations(COMMIT_BOUNDS_S))  # of the log

    def decided(self, commands: int, rejected: int, replayed: int, events: int) -> None:
        """One batch came to its end."""
        self.batches += 1
        self.commands += commands
        self.events += events
        self.rejected += rejected
        self.replayed += replayed
        self.largest_batch = max(self.largest_batch, commands)
