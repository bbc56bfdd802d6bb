"""Servers for the tests of the HTTP contract. Those of a module are shared by its tests: each has a tenant of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.api.site", "tests.api.between", "tests.api.contract")

from tests.api.site import Site, Tenant, a_site  # noqa: E402 — the rewriting comes before the import
from tests.folders import folder as folder  # noqa: E402
from tests.folders import memory_folder  # noqa: E402


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    """An empty folder in memory, for all tests of a module."""
    with memory_folder() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_folder: Path) -> AsyncIterator[Site]:
    """A server for trying out: `--dev`, registration for those with the token, no limits on requests."""
    async with a_site(module_folder / "dev", dev=True) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(module_folder: Path) -> AsyncIterator[Site]:
    """A server as it is run for real: https only, limits on requests."""
    async with a_site(module_folder / "guarded", rate_limits=True) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def acme(site: Site) -> Tenant:
    """A new tenant of `site`."""
    return await site.register()
