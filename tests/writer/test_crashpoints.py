"""The places at which a test may kill the server: that they are where they say, and that nobody dies elsewhere."""

import os
import signal
from collections.abc import Iterable

import pytest

from ahplat.commands.tenants import SetQuotas
from ahplat.crashpoints import POINTS, CrashPoints
from tests.commands.given import TENANT
from tests.writer.harness import Bench


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Who would have been killed, and how."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, how: found.append((pid, how)))
    return found


@pytest.mark.parametrize("point", POINTS)
def test_a_point_kills_once_and_at_once(killed: list[tuple[int, int]], point: str) -> None:
    crash = CrashPoints(point)
    for other in POINTS:
        crash.reached(other)
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_a_point_may_kill_at_a_later_time(killed: list[tuple[int, int]]) -> None:
    crash = CrashPoints("after-effect:3")
    for n in range(1, 5):
        crash.reached("after-effect")
        assert len(killed) == (n >= 3)


def test_nobody_dies_where_nothing_was_asked(killed: list[tuple[int, int]]) -> None:
    for point in POINTS:
        CrashPoints().reached(point)
    assert killed == []


def test_a_point_may_kill_where_it_is_about_one_intent(killed: list[tuple[int, int]]) -> None:
    crash = CrashPoints("between-commits@service.routed:2")
    crash.reached("after-effect", ("service.routed",))
    crash.reached("between-commits", ("service.created", "service.deploy_requested"))
    crash.reached("between-commits", ("service.instance_healthy", "service.routed"))
    assert killed == []
    crash.reached("between-commits", iter(["service.routed"]))
    assert killed == [(os.getpid(), signal.SIGKILL)]


@pytest.mark.parametrize("wanted", ["somewhere", "after-effect:soon", ":3x"])
def test_a_point_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match=r"there are after-intent|invalid literal"):
        CrashPoints(wanted)


class Witness(CrashPoints):
    """Looks at both files, as other connections see them, instead of killing."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.seen: list[tuple[str, set[str], int, int]] = []

    def reached(self, point: str, about: Iterable[str] = ()) -> None:
        views = self.bench.views_reader.execute("SELECT position FROM checkpoint").get
        self.seen.append((point, set(about), self.bench.events()[-1].position, views))


async def test_between_the_commits_the_log_has_the_batch_and_the_views_have_not(bench: Bench) -> None:
    witness = bench.writer._crash = Witness(bench)
    before = bench.log.position
    await bench.set(1)
    assert witness.seen == [("between-commits", {"tenant.quotas_set"}, before + 1, before)]
    await bench.submit(SetQuotas(tenant_id=TENANT, quotas={}))
    assert len(witness.seen) == 1  # nothing to lose, nothing to die for
