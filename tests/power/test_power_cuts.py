"""Power fails at every write of a workload of real commands: no acknowledged event is missing, every image opens.

The server runs on a disk that writes down each step (see `disk`). Afterwards, for each step, two images are made of what
may be there if power failed then, and opened as a start does; on some a whole server goes on, and clients repeat what
they had been answered. That the first can fail is shown by a log that does not wait for the disk.
"""

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import pytest_asyncio

from ahplat import sealing
from events import log
from events.database import open_database
from tests.api.site import Tenant, a_site
from tests.folders import memory_folder
from tests.power.disk import Choice, Disk, mixed
from tests.power.workload import Run, faults, run

pytestmark = pytest.mark.embedded

PARTS = 12
RESTARTS = 6
REPEATS = 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recording() -> AsyncIterator[Run]:
    """The workload, run once."""
    with memory_folder() as folder:
        yield await run(folder / "data")


def choices(draw: random.Random) -> tuple[Choice, Choice]:
    """How much of what was not synced is there: in one image nothing or all of it, in the other something of each."""
    keeps = draw.random() < 0.5
    return (lambda: "all" if keeps else "none"), mixed(draw)


def images(recording: Run, part: int, parts: int) -> Iterator[tuple[int, str, Path]]:
    """After every so many steps: (the number of steps, how to find it again, a folder with what is left)."""
    disk = Disk(recording.before)
    for number, step in enumerate(recording.steps, 1):
        disk.take(step)
        if number % parts == part:
            draw = random.Random(number)
            for which, choice in enumerate(choices(draw)):
                with memory_folder() as folder:
                    disk.write_image(folder, choice, draw)
                    yield number, f"image {which} after step {number}, {step.kind} of {step.file}", folder


@pytest.mark.sampled
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_acknowledged_is_missing_and_every_image_opens(recording: Run, part: int) -> None:
    tried = 0
    for number, where, image in images(recording, part, PARTS):
        assert not faults(image, recording, recording.promised(number)), where
        tried += 1
    assert tried * PARTS >= 4_000


def test_the_disk_had_every_kind_of_step(recording: Run) -> None:
    kinds = {(step.file, step.kind) for step in recording.steps}
    assert {(file, kind) for file in ("events.db", "views.db") for kind in ("write", "sync")} < kinds
    assert {("events.db-wal", "write"), ("events.db-wal", "sync"), ("keys.db-wal", "sync")} < kinds


@pytest.mark.sampled
@pytest.mark.parametrize("nth", range(1, RESTARTS + 1))
async def test_a_server_goes_on_from_an_image_and_repeats_what_it_answered(recording: Run, nth: int) -> None:
    at = len(recording.steps) * nth // RESTARTS - 1
    for number, where, image in images(recording, at, len(recording.steps)):
        answered = [ack for ack in recording.acks if ack.steps <= number]
        async with a_site(image, dev=True) as site:
            for ack in random.Random(number).sample(answered, min(REPEATS, len(answered))):
                tenant = Tenant(site, ack.tenant_id, ack.key)
                answer = await tenant.ask(
                    ack.method, ack.path, ack.body, headers={"Idempotency-Key": ack.idempotency_key}
                )
                assert (answer.status, answer.body) == (ack.status, ack.answer), where
                assert answer.headers["Idempotency-Replayed"] == "true", where


@pytest.mark.parametrize(("room", "said"), [(log, "was acknowledged"), (sealing, "is destroyed")])
async def test_a_file_that_does_not_wait_for_the_disk_loses_and_that_is_seen(
    monkeypatch: pytest.MonkeyPatch, room: ModuleType, said: str
) -> None:
    monkeypatch.setattr(room, "open_database", lambda path, _: open_database(path, "NORMAL"))
    with memory_folder() as folder:
        hasty = await run(folder / "data")
    monkeypatch.undo()
    assert any(said in faults(image, hasty, hasty.promised(at)) for at, _, image in images(hasty, 0, PARTS))
