"""What Prometheus scrapes: read from the parts' own statistics at the moment of asking, and from nothing else.

One prefix (`process_` is the library's), base units, counters end in `_total`. Labels are words of the platform's own,
an event's type the longest list of them: no tenant and no service is one. `deploy/` has alerts and a dashboard.
"""

import platform
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ahplat.backups.schedule import last_made_at
from ahplat.effects.catalog import EFFECTS
from ahplat.effects.disks import LEVELS
from ahplat.effects.runner import OUTCOMES
from ahplat.statistics import Durations
from ahplat.version import VERSION
from events.event import wire_name
from events.log import head, read_all
from projections import builds, todo
from projections.views import read_checkpoint

if TYPE_CHECKING:
    from ahplat.api.application import Application


def exposition(app: "Application") -> bytes:
    """All series in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Parts(app))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Parts(Collector):
    def __init__(self, app: "Application") -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "ahplat_build",
            "What runs here.",
            {"version": VERSION, "python": platform.python_version(), "engine": self._app.engine.name},
        )
        yield from self._writer()
        yield from self._views()
        yield from self._signing()
        yield from self._work()
        yield from self._effects()
        yield from self._builds()
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
        commits = HistogramMetricFamily(
            "ahplat_log_commit_seconds", "How long a batch of events took to be on the disk: COMMIT of the log."
        )
        commits.add_metric([], *_counted(statistics.commits))
        yield commits

    def _views(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("ahplat_log_position", "Last position of the log.", head(self._app.log))
        checkpoint = read_checkpoint(self._app.views)
        yield from self._lag("ahplat_projection_lag", "the views lack", checkpoint.position if checkpoint else 0)
        yield from self._lag(
            "ahplat_metering_lag", "metering.db lacks; it follows now and then", self._app.metering.position
        )
        yield GaugeMetricFamily("ahplat_event_streams", "Open event streams.", self._app.hub.streams)

    def _signing(self) -> Iterator[Metric]:
        checkpoints = self._app.checkpoints
        signed = checkpoints.last.checkpoint.position if checkpoints.last else 0
        yield from self._lag("ahplat_checkpoint_lag", "no checkpoint covers", signed)
        yield GaugeMetricFamily(
            "ahplat_signing_stopped", "Whether the log is not what was signed of it.", bool(checkpoints.problem)
        )

    def _lag(self, name: str, lacks: str, position: int) -> Iterator[Metric]:
        """How far what has come to a position is behind the log."""
        lacking = read_all(self._app.log, position, 1)
        lag_us = self._app.clock.now_us() - lacking[0].at_us if lacking else 0
        yield GaugeMetricFamily(f"{name}_events", f"Events that {lacks}.", head(self._app.log) - position)
        yield GaugeMetricFamily(f"{name}_seconds", f"Age of the oldest event that {lacks}.", max(0, lag_us) / 1e6)

    def _work(self) -> Iterator[Metric]:
        """The to-do list, by what is to be done; the age leaves out what waits for an operator, `parked` tells of that."""
        now_us = self._app.clock.now_us()
        count, begun, oldest_us = Counter[str](), Counter[str](), Counter[str]()
        parked = 0
        for work in todo.open_of_all(self._app.views):
            count[work.type] += 1
            parked += work.parked
            age_us = 0 if work.parked else now_us - work.since_us
            oldest_us[work.type] = max(oldest_us[work.type], age_us)
        begun.update(work.type for work in self._app.runner.under_way)
        opened = GaugeMetricFamily("ahplat_effects_open", "Intents without an outcome.", labels=["intent"])
        busy = GaugeMetricFamily("ahplat_effects_busy", "Attempts under way.", labels=["intent"])
        oldest = GaugeMetricFamily(
            "ahplat_effect_oldest_seconds", "Age of the oldest open intent that is not parked.", labels=["intent"]
        )
        for name in sorted(wire_name(intent) for intent in EFFECTS):
            opened.add_metric([name], count[name])
            busy.add_metric([name], begun[name])
            oldest.add_metric([name], oldest_us[name] / 1e6)
        yield from (opened, busy, oldest)
        yield GaugeMetricFamily("ahplat_effects_parked", "Work that waits for an operator.", parked)

    def _effects(self) -> Iterator[Metric]:
        runner = self._app.runner
        yield CounterMetricFamily("ahplat_effect_attempts", "Attempts begun.", runner.attempts)
        outcomes = CounterMetricFamily("ahplat_effect_outcomes", "How attempts ended.", labels=["outcome"])
        for outcome in OUTCOMES:
            outcomes.add_metric([outcome], runner.outcomes[outcome])
        yield outcomes
        yield CounterMetricFamily(
            "ahplat_drifts", "Services found other than they should be.", self._app.reconciler.drifts
        )
        yield CounterMetricFamily(
            "ahplat_route_repairs", "Routes that somebody else had changed.", self._app.follower.repairs
        )
        yield GaugeMetricFamily("ahplat_engine_up", "Whether the engine answers.", not runner.engine_away)
        yield GaugeMetricFamily(
            "ahplat_name_servers_failing",
            "Tenant networks in which nobody answers names.",
            len(self._app.names.failures),
        )

    def _builds(self) -> Iterator[Metric]:
        count = Counter(row.status for row in builds.list_open(self._app.views))
        found = GaugeMetricFamily("ahplat_builds", "Builds that wait, and that are under way.", labels=["status"])
        for status in ("pending", "running"):
            found.add_metric([status], count[status])
        yield found

    def _clock(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ahplat_clock_off_seconds", "By how much the clock is off the log's time.", self._app.clock.off_s
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
            "ahplat_garbage_bytes", "Of images and volumes that were removed.", self._app.collector.removed_bytes
        )

    def _backups(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ahplat_last_verified_backup_timestamp_seconds",
            "When the newest backup of log and keys was made; 0 where there is none.",
            last_made_at(self._app.config.backup_folder),
        )
        yield GaugeMetricFamily(
            "ahplat_backup_interval_seconds",
            "How often the server makes one; 0 is never.",
            self._app.config.backup_every_s,
        )

    def _http(self) -> Iterator[Metric]:
        answered = self._app.edge.answered
        statuses = CounterMetricFamily("ahplat_http_responses", "Answers by status.", labels=["status"])
        for status, count in sorted(answered.statuses.items()):
            statuses.add_metric([str(status)], count)
        yield statuses
        took = HistogramMetricFamily(
            "ahplat_http_request_duration_seconds",
            "How long answers took, with the waiting that the caller asked for.",
            labels=["kind"],
        )
        for kind, durations in answered.durations.items():
            took.add_metric([kind], *_counted(durations))
        yield took
        yield GaugeMetricFamily("ahplat_http_in_flight", "Requests being answered.", self._app.edge.in_flight)


def _counted(durations: Durations) -> tuple[list[tuple[str, float]], float]:
    """(buckets, sum), as the library wants them: each bucket holds all that are below it."""
    below = accumulate(durations.within)
    bounds = (*map(str, durations.bounds_s), "+Inf")
    return [(bound, float(count)) for bound, count in zip(bounds, below, strict=True)], durations.sum_s
