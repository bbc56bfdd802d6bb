"""What the builder hands over: the image of a build, of which only what is new was written."""

import pytest

from ahplat.builders.registry import Layout
from tests.real.builds.conftest import Yard

pytestmark = pytest.mark.real

OWN = "FROM railwayapp/nixpacks:ubuntu-1745885067\nCOPY said.txt /\n"


async def test_an_image_shares_the_layers_of_its_base_with_the_builder(yard: Yard) -> None:
    tenant = yard.tenant()
    cache = yard.builder._daemon(tenant).cache
    for said in ("one", "two"):
        job = yard.job(tenant, {"Dockerfile": OWN, "said.txt": said})
        digest = await yard.run(job)
    layout = Layout(yard.folder / "builds" / job.build_id / "layout")
    assert layout.manifest().digest == digest
    *base, own, configuration = (layout.path(one) for one in layout.blobs())
    kept = {path.stat().st_ino for path in cache.glob("*/content/blobs/sha256/*")}
    assert {path.stat().st_ino for path in base} <= kept
    assert not {path.stat().st_ino for path in (own, configuration)} & kept
    await yard.builder.discard(job.build_id)
    assert kept == {path.stat().st_ino for path in cache.glob("*/content/blobs/sha256/*")}


async def test_a_builder_that_has_nothing_lends_nothing(yard: Yard) -> None:
    layout = yard.folder / "layout"
    yard.builder._daemon(yard.tenant()).lend(layout)
    assert list(layout.rglob("*")) == [layout / "blobs", layout / "blobs" / "sha256"]
