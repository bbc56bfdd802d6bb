"""Databases that answer queries as soon as they run, on a site."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ahplat.effects import database_health
from ahplat.engines.engine import Instance
from tests.api.site import Site
from tests.effects.database_contents import Contents
from tests.engines.simulated import Behaviour


@contextmanager
def answering() -> Iterator[None]:
    """While it lasts, whoever asks a server is told whether it runs."""

    async def unready(seen: Instance, plan: Any) -> str:
        return "" if seen.state == "running" else "it does not run"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_health, "unready", unready)
        yield


def with_databases(site: Site, name: str) -> Contents:
    """Gives the site the images of both kinds; what is in its databases, of which those of Postgres have a name."""
    site.host.images |= {"postgres:16-alpine": Behaviour(version="pg"), "redis:7-alpine": Behaviour(version="redis")}
    return Contents(site.host, name)
