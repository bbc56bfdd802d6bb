"""`metering.db` beside a server that ends."""

import asyncio
import threading
from pathlib import Path

import apsw
import pytest

from ahplat.errors import Unavailable
from ahplat.metering import Metering
from events.log import EventLog
from projections.metering import open_metering
from projections.views import Progress, Views
from tests.folders import folder as folder

INSTALLATION = "018f0000000070008000000000000001"


async def test_a_server_that_ends_does_not_wait_until_the_file_is_made_of_a_long_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventLog(folder / "events.db", INSTALLATION, 0).close()
    reached, going_on = threading.Event(), threading.Event()

    def slowly(path: Path, log: apsw.Connection, installation: str, progress: Progress) -> Views:
        def told(done: int, of: int) -> None:
            reached.set()
            assert going_on.wait(10)
            progress(done, of)

        return open_metering(path, log, installation, told)

    monkeypatch.setattr("ahplat.metering.open_metering", slowly)
    metering = Metering(folder, INSTALLATION)
    metering.begin()
    assert await asyncio.to_thread(reached.wait, 10)
    asked = asyncio.create_task(metering.read(lambda _: "figures"))
    closing = asyncio.create_task(metering.close())
    await asyncio.sleep(0)
    going_on.set()
    await closing
    assert list(folder.glob("metering.db*")) == []
    with pytest.raises(Unavailable, match="the server is stopping"):
        await asked
