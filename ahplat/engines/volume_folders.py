"""Volumes of the embedded engine: folders, each with a note of whose it is beside it. Blocking.

    <name>        what is in the volume
    <name>.json   whose it is, written first: a folder without it is nobody's, and taken over

Invariant: what is another installation's is neither used nor removed.
"""

import os
import shutil
from pathlib import Path

import msgspec

from ahplat.engines.engine import Belonging, Volume
from ahplat.errors import Rejected


def ensure(volumes: Path, volume: Volume) -> Path:
    """The folder, made where it is missing. Raises Rejected `name_taken`."""
    note = volumes / f"{volume.name}.json"
    found = _owner(note)
    if found is not None and found != volume:
        raise Rejected("name_taken", f"{note} says that the volume is not of this installation")
    volumes.mkdir(mode=0o700, parents=True, exist_ok=True)
    if found is None:
        aside = note.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(volume))
        aside.rename(note)
    (volumes / volume.name).mkdir(mode=0o700, exist_ok=True)
    return volumes / volume.name


def remove(volumes: Path, volume: Volume) -> None:
    """Removes it, where it is there and ours; its note goes last, so that half a removal is gone on with."""
    note = volumes / f"{volume.name}.json"
    if _owner(note) == volume:
        shutil.rmtree(volumes / volume.name, ignore_errors=True)
        note.unlink(missing_ok=True)


def listed(volumes: Path, installation: str) -> list[Belonging]:
    """Those of an installation, by name."""
    return [Belonging("volume", one.name, one.tenant) for one in _of(volumes, installation)]


def measured(volumes: Path, installation: str) -> dict[str, int]:
    """Bytes by name: what the files take, not how long they are."""
    return {one.name: _bytes(volumes / one.name) for one in _of(volumes, installation)}


def _of(volumes: Path, installation: str) -> list[Volume]:
    owners = (_owner(note) for note in sorted(volumes.glob("*.json")))
    return [one for one in owners if one is not None and one.instance == installation]


def _bytes(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118 — there may be many
            except OSError:
                continue  # gone meanwhile
    return total


def _owner(note: Path) -> Volume | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=Volume)
    except (OSError, msgspec.MsgspecError):
        return None
