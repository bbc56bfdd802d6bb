"""What `ah status` makes of an answer."""

from typing import Any

import msgspec
import pytest

from ahplat.api.status import NewestBackup, PlatformStatus, Work
from ahplat.api.system import (
    BuildsPart,
    ClockPart,
    Detailed,
    Disk,
    EffectsPart,
    EnginePart,
    LogPart,
    Part,
    RouterPart,
)
from ahplat.cli.status import lines, wants_you

HEALTH = Detailed(
    status="ok",
    docker=Part(True, "28.1"),
    gvisor=Part(True, "release-20260901"),
    disk=Disk(100.0, 60.0, 40.0, "ok"),
    engine=EnginePart("docker", True, True),
    router=RouterPart(True, name="files"),
    names=Part(True),
    builds=BuildsPart("buildkit", True, True),
    clock=ClockPart(True),
    log=LogPart(1_234, 1),
    effects=EffectsPart(0, 0, 0),
    unknown=0,
)
CALM = PlatformStatus(
    version="1",
    now=100_000,
    health=HEALTH,
    tenants={"active": 2},
    services={"running": 3, "failed": 1},
    databases={},
    builds={},
    work=[],
    backup=NewestBackup(96_400, 86_400),
    unknown=[],
)
PARKED = Work(90, "service.routed", "service-1", "t", "parked", 20, 5_400, "router_away")


def screen(found: PlatformStatus) -> dict[str, str]:
    """The parts by name."""
    return {line[:11].strip(): line[12:] for line in lines(found)}


def health(**parts: Any) -> PlatformStatus:
    return msgspec.structs.replace(CALM, health=msgspec.structs.replace(HEALTH, **parts))


def test_a_calm_server_fits_on_a_dozen_lines() -> None:
    shown = screen(CALM)
    assert len(shown) == 12 and not wants_you(CALM)
    assert shown["services"] == "4: 3 running, 1 failed"
    assert shown["backup"] == "1h0m ago, every 1d0h"
    assert shown["open work"] == "none"


@pytest.mark.parametrize(
    ("part", "found", "says"),
    [
        ("engine", health(status="degraded", engine=EnginePart("docker", False, True)), "AWAY"),
        (
            "router",
            health(status="degraded", router=RouterPart(False, detail="no answer", name="files")),
            "AWAY, no answer",
        ),
        ("disk", health(disk=Disk(100.0, 4.0, 96.0, "full")), "FULL"),
        ("docker disk", health(docker_disk=Disk(100.0, 4.0, 96.0, "full")), "FULL"),
        ("clock", health(clock=ClockPart(False, 7_200)), "OFF by 7200 s"),
        ("clock", health(clock=ClockPart(False, -7_200)), "OFF, 2h0m behind the log's time"),
        ("open work", health(effects=EffectsPart(3, 5_400, 1)), "3, oldest 1h30m, parked 1"),
    ],
)
def test_what_wants_an_operator_is_told_and_is_the_exit_code(part: str, found: PlatformStatus, says: str) -> None:
    assert says in screen(found)[part]
    assert wants_you(found)


def test_a_late_backup_is_told() -> None:
    late = msgspec.structs.replace(CALM, now=96_400 + 3 * 86_400)
    assert screen(late)["backup"] == "3d0h ago, every 1d0h: LATE"
    assert screen(msgspec.structs.replace(CALM, backup=NewestBackup(0, 86_400)))["backup"].startswith("NONE")


def test_open_work_is_named_with_the_position_that_unpark_wants() -> None:
    found = msgspec.structs.replace(health(effects=EffectsPart(61, 5_400, 1)), work=[PARKED])
    *_, head, work, more = lines(found)
    assert head.split() == ["position", "state", "age", "tries", "work"]
    assert work.split() == ["90", "parked", "1h30m", "20", "service.routed", "service-1:", "router_away"]
    assert more.strip() == "…  60 more"


def test_what_is_not_known_is_named_and_wants_nobody() -> None:
    found = msgspec.structs.replace(health(unknown=2), unknown=["container x"])
    assert screen(found)["unknown"] == "2, left alone: container x, …"
    assert not wants_you(found)
