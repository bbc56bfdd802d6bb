"""What a request costs at least: aiohttp under uvloop with one route, and nothing of ours.

    python -m tests.bench.bare FOLDER BODY

GET answers the bytes of the file BODY. POST reads and parses its body and inserts it into a bare SQLite, synchronous
FULL, before it answers. GET /stream sends whatever a thread of its own says every STREAM_EVERY_S, and when it said so.
"""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import apsw
import uvloop
from aiohttp import web

STREAM_EVERY_S = 0.02


def open_bare(path: Path, synchronous: str = "FULL") -> apsw.Connection:
    """A bare table in a database that is as durable as the log."""
    db = apsw.Connection(str(path))
    db.pragma("page_size", 8192)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", synchronous)
    db.execute("CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT")
    return db


class Streams:
    """Open streams; each gets every frame, from a thread that hands it to the loop as the writer does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.queues: set[asyncio.Queue[bytes]] = set()

    def talk(self) -> None:
        while True:
            time.sleep(STREAM_EVERY_S)
            frame = b'id: 1\nevent: bare\ndata: {"committed_ns":%d,"pad":"%s"}\n\n' % (time.monotonic_ns(), b"x" * 400)
            self.loop.call_soon_threadsafe(self.give, frame)

    def give(self, frame: bytes) -> None:
        for queue in self.queues:
            queue.put_nowait(frame)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.queues.add(queue)
        try:
            while True:
                await response.write(await queue.get())
        finally:
            self.queues.discard(queue)


async def serve(folder: Path, body: bytes) -> None:
    db = open_bare(folder / "bare.db")

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def post(request: web.Request) -> web.Response:
        raw = await request.read()
        json.loads(raw)
        db.execute("INSERT INTO bare (data) VALUES (?)", (raw,))
        return web.Response(body=body, content_type="application/json")

    streams = Streams(asyncio.get_running_loop())
    app = web.Application()
    app.router.add_get("/v1/services", get)
    app.router.add_post("/v1/services", post)
    app.router.add_get("/stream", streams.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    threading.Thread(target=streams.talk, daemon=True).start()
    print(f"bare: on http://127.0.0.1:{runner.addresses[0][1]}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
