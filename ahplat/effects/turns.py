"""A look at very many, in turns: everybody else goes first now and then, so that it holds up no request."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from apsw import Connection

from ahplat import limits
from projections import services
from projections.services import ServiceRow

T = TypeVar("T")


async def each_service(views: Connection) -> AsyncIterator[ServiceRow]:
    """All services that are not deleted, oldest first; each as it is when its turn comes."""
    after = ""
    while rows := services.list_all(views, after, limits.LOOKED_AT_ONCE):
        for row in rows:
            yield row
        after = rows[-1].service_id
        await asyncio.sleep(0)


async def in_turns(rows: Iterable[T]) -> AsyncIterator[T]:
    """The same rows."""
    for number, row in enumerate(rows, 1):
        yield row
        if number % limits.LOOKED_AT_ONCE == 0:
            await asyncio.sleep(0)
