"""What volumes hold, asked of the engine at most once in VOLUME_BYTES_S and by one question at a time.

The answer costs a look at every file of every volume of the machine: however many ask, that is done once.
"""

import asyncio

from ahplat import limits
from ahplat.clock import Clock
from ahplat.engines.engine import Engine
from ahplat.errors import Unavailable


class Sizes:
    """See the module."""

    def __init__(self) -> None:
        self._asking: asyncio.Future[dict[str, int]] | None = None
        self._asked_at = 0.0

    async def of(self, engine: Engine, clock: Clock) -> dict[str, int]:
        """Bytes by the engine's name of the volume; empty where the engine cannot tell."""
        is_old = clock.monotonic() - self._asked_at > limits.VOLUME_BYTES_S
        if self._asking is None or (self._asking.done() and is_old):
            self._asked_at = clock.monotonic()
            self._asking = asyncio.ensure_future(engine.volume_bytes())
        try:
            return await asyncio.shield(self._asking)
        except Unavailable:
            return {}
