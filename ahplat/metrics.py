"""What Prometheus scrapes: read from the parts' own statistics at the moment of asking, and from nothing else.

One prefix, base units, counters end in `_total`, no label that a tenant could grow without bound.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ahplat.backups.schedule import last_made_at
from ahplat.effects.disks import LEVELS
from ahplat.statistics import COMMIT_BOUNDS_S
from events.log import head
from projections import todo
from projections.views import read_checkpoint

if TYPE_CHECKING:
    from ahplat.api.application import Application


def exposition(app: "Application") -> bytes:
    """All series in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Parts(app))
    return generate_latest(registry)


class _Parts(Collector):
    def __init__(self, app: "Application") -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        yield from self._writer()
        yield from self._views()
        yield from self._effects()
        yield from self._http()
        yield from self._clock()
        yield from self._disks()
        yield from self._backups()

    def _writer(self) -> Iterator[Metric]:
        statistics = self._app.writer.statistics
        yield CounterMetricFamily("ahplat_commands", "Commands decided.", statistics.commands)
        yield CounterMetricFamily("ahplat_commands_rejected", "Commands refused or failed.", statistics.rejected)
        yield CounterMetricFamily("ahplat_commands_replayed", "Answered from an idempotency key.", statistics.replayed)
        yield CounterMetricFamily("ahplat_events", "Events appended.", statistics.events)
        yield GaugeMetricFamily("ahplat_commands_waiting", "Commands in the writer's queue.", self._app.writer.waiting)
        yield GaugeMetricFamily("ahplat_batch_commands_max", "Largest batch so far.", statistics.largest_batch)
        yield _histogram("ahplat_log_commit_seconds", statistics.commits_within, statistics.commit_s)

    def _views(self) -> Iterator[Metric]:
        last = head(self._app.log)
        checkpoint = read_checkpoint(self._app.views)
        position = checkpoint.position if checkpoint else 0
        yield GaugeMetricFamily("ahplat_log_position", "Last position of the log.", last)
        yield GaugeMetricFamily("ahplat_projection_lag_events", "Events that the views lack.", last - position)
        yield GaugeMetricFamily("ahplat_event_streams", "Open event streams.", self._app.hub.streams)

    def _effects(self) -> Iterator[Metric]:
        runner = self._app.runner
        open_work = todo.open_of_all(self._app.views)
        now_us = self._app.clock.now_us()
        yield CounterMetricFamily("ahplat_effect_attempts", "Attempts begun.", runner.attempts)
        outcomes = CounterMetricFamily("ahplat_effect_outcomes", "How attempts ended.", labels=["outcome"])
        for outcome, count in sorted(runner.outcomes.items()):
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield GaugeMetricFamily("ahplat_effects_busy", "Attempts under way.", runner.busy)
        yield GaugeMetricFamily("ahplat_effects_open", "Intents without an outcome.", len(open_work))
        yield GaugeMetricFamily(
            "ahplat_effects_parked", "Work that waits for an operator.", sum(w.parked for w in open_work)
        )
        age_s = max([0, *(now_us - work.since_us for work in open_work)]) / 1e6
        yield GaugeMetricFamily("ahplat_effect_oldest_seconds", "Age of the oldest open intent.", age_s)
        yield CounterMetricFamily(
            "ahplat_drifts", "Services found other than they should be.", self._app.reconciler.drifts
        )
        yield CounterMetricFamily(
            "ahplat_route_repairs", "Routes that somebody else had changed.", self._app.follower.repairs
        )
        yield GaugeMetricFamily("ahplat_engine_up", "Whether the engine answers.", not runner.engine_away)

    def _clock(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ahplat_clock_off_seconds", "By how much the clock was set and is not followed.", self._app.clock.off_s
        )

    def _disks(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("ahplat_disk_used_ratio", "How full the disk is.", labels=["disk"])
        level = GaugeMetricFamily("ahplat_disk_level", "0 ok, 1 low, 2 full: nothing grows.", labels=["disk"])
        for name, disk in sorted(self._app.disks.seen.items()):
            used.add_metric([name], disk.used_percent / 100)
            level.add_metric([name], LEVELS.index(disk.level))
        yield used
        yield level
        yield CounterMetricFamily(
            "ahplat_garbage_bytes", "Of images that were removed.", self._app.collector.removed_bytes
        )

    def _backups(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ahplat_last_verified_backup_timestamp_seconds",
            "When the newest backup of log and keys was made; 0 where there is none.",
            last_made_at(self._app.config.backup_folder),
        )

    def _http(self) -> Iterator[Metric]:
        statuses = CounterMetricFamily("ahplat_http_responses", "Answers by status.", labels=["status"])
        for status, count in sorted(self._app.edge.statuses.items()):
            statuses.add_metric([str(status)], count)
        yield statuses
        yield GaugeMetricFamily("ahplat_http_in_flight", "Requests being answered.", self._app.edge.in_flight)


def _histogram(name: str, within: list[int], total_s: float) -> HistogramMetricFamily:
    buckets, below = [], 0
    for bound, count in zip((*map(str, COMMIT_BOUNDS_S), "+Inf"), within, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return HistogramMetricFamily(name, "COMMIT of the log.", buckets=buckets, sum_value=total_s)
