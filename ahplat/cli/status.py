"""`ah status`: how the server and everything on it is, on one screen."""

import sys
from pathlib import Path

import click
import msgspec

from ahplat.api.status import PlatformStatus
from ahplat.api.system import ClockPart, Disk
from ahplat.cli.folders import data_dir_option
from ahplat.cli.operate import answered


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
@data_dir_option("operator.sock")
def status(data_dir: Path, as_json: bool) -> None:
    """Show what there is, what is under way, and what is the matter.

    Exit code 1: no server answers, or something wants you: a part is away, work is parked, a disk is full.
    """
    body = answered(data_dir, "GET", "/v1/system/status")
    found = msgspec.json.decode(body, type=PlatformStatus)
    click.echo(body if as_json else "\n".join(lines(found)))
    sys.exit(1 if wants_you(found) else 0)


def wants_you(found: PlatformStatus) -> bool:
    """Whether there is something to do for an operator."""
    health = found.health
    is_full = any(disk and disk.level == "full" for disk in (health.disk, health.docker_disk))
    return health.status != "ok" or health.effects.parked > 0 or is_full or not health.clock.followed


def lines(found: PlatformStatus) -> list[str]:
    """The screen: one line for each part, then one for each piece of open work."""
    health, effects = found.health, found.health.effects
    disks = [(name, disk) for name, disk in (("disk", health.disk), ("docker disk", health.docker_disk)) if disk]
    engine = health.engine.name + ("" if health.engine.isolated else ", services are not isolated")
    rows = [
        (
            "server",
            f"ahplat {found.version}, {health.status}, position {health.log.position}, epoch {health.log.epoch}",
        ),
        ("engine", engine if health.engine.available else f"{engine}: AWAY, {health.docker.detail or 'no answer'}"),
        ("router", health.router.name + ("" if health.router.available else f": AWAY, {health.router.detail}")),
        ("builds", f"{health.builds.name if health.builds.available else f'refused, {health.builds.detail}'}"),
        *((name, _disk(disk)) for name, disk in disks),
        ("clock", _clock(health.clock)),
        ("backup", _backup(found)),
        ("tenants", _counts(found.tenants)),
        ("services", _counts(found.services)),
        ("databases", _counts(found.databases)),
        ("building", _counts(found.builds)),
        (
            "open work",
            f"{effects.open}, oldest {_age(effects.oldest_s)}, parked {effects.parked}" if effects.open else "none",
        ),
    ]
    if found.unknown:
        more = ", …" if health.unknown > len(found.unknown) else ""
        rows.append(("unknown", f"{health.unknown}, left alone: {', '.join(found.unknown)}{more}"))
    told = [f"{name:11} {text}" for name, text in rows]
    if found.work:
        told += ["", f"{'position':>10}  {'state':9}  {'age':>7}  {'tries':>5}  work"]
    for work in found.work:
        why = f": {work.code}" if work.code else ""
        told.append(
            f"{work.position:10}  {work.state:9}  {_age(work.age_s):>7}  {work.attempt:5}  {work.type} {work.subject}{why}"
        )
    if effects.open > len(found.work):
        told.append(f"{'…':>10}  {effects.open - len(found.work)} more")
    return told


def _counts(found: dict[str, int]) -> str:
    """
    >>> _counts({"running": 3, "failed": 1}), _counts({})
    ('4: 3 running, 1 failed', 'none')
    """
    each = ", ".join(f"{count} {name}" for name, count in sorted(found.items(), key=lambda one: (-one[1], one[0])))
    return f"{sum(found.values())}: {each}" if found else "none"


def _disk(disk: Disk) -> str:
    return f"{disk.used_percent:g} % used, {disk.free_gb:g} GB free" + (
        "" if disk.level == "ok" else f": {disk.level.upper()}"
    )


def _clock(clock: ClockPart) -> str:
    off_s = clock.off_s or 0
    if off_s < 0:
        return f"OFF, {_age(-off_s)} behind the log's time, which goes on"
    return "ok" if clock.followed else f"OFF by {off_s} s, and not followed"


def _backup(found: PlatformStatus) -> str:
    backup = found.backup
    made = f"{_age(found.now - backup.made_at)} ago" if backup.made_at else "NONE"
    is_late = backup.every_s and found.now - backup.made_at > 2 * backup.every_s
    every = f"every {_age(backup.every_s)}" if backup.every_s else "none is made by the server"
    return f"{made}, {every}" + (": LATE" if is_late and backup.made_at else "")


def _age(seconds: int) -> str:
    """
    >>> _age(7), _age(90), _age(3 * 3600 + 59), _age(3 * 86400)
    ('7s', '1m30s', '3h0m', '3d0h')
    """
    for unit, size, smaller, of in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // of}{smaller}"
    return f"{max(seconds, 0)}s"
