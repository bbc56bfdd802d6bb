"""Our server, noting when each COMMIT of the log came back.

    python -m tests.bench.noting FOLDER

At its end it leaves `commits.json` in FOLDER: [position, nanoseconds of the machine's monotonic clock], …
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import uvloop

from ahplat.config import Config
from ahplat.main import start


async def serve(folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    running = await start(
        Config(data_dir=folder, port=0, engine="embedded", dev=True, open_registration=True, rate_limits=False)
    )
    log = running.app.writer.log
    commit, noted = log.commit, list[tuple[int, int]]()

    def noting() -> None:
        commit()
        noted.append((log.position, time.monotonic_ns()))

    log.commit = noting  # type: ignore[method-assign]
    print(f"on http://127.0.0.1:{running.app.port}", file=sys.stderr, flush=True)
    await stop.wait()
    await running.close()
    (folder / "commits.json").write_text(json.dumps(noted))


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
