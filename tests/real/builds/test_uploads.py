"""Archives that were sent, built for real: Nixpacks plans in its sandbox, BuildKit builds under gVisor."""

import hashlib
import secrets
from collections.abc import Mapping

import pytest

from ahplat.builders.builder import Job
from ahplat.errors import Rejected
from tests.builds.archives import entry, link, of_files, packed
from tests.real.builds.conftest import Yard

pytestmark = pytest.mark.real

APP = {"main.py": "import time; time.sleep(60)\n"}
BASE = "FROM railwayapp/nixpacks:ubuntu-1745885067\n"


def sent(yard: Yard, archive: bytes, builder: str) -> Job:
    """A build of a new tenant whose archive lies where the API puts it."""
    tenant_id, build_id, service_id = yard.tenant(), secrets.token_hex(16), secrets.token_hex(16)
    image = yard.builder.image_name(tenant_id, service_id, build_id)
    url = f"upload:sha256:{hashlib.sha256(archive).hexdigest()}"
    folder = yard.folder / "builds" / build_id
    folder.mkdir(parents=True)
    (folder / "upload.tar.gz").write_bytes(archive)
    job = Job(build_id, tenant_id, service_id, url, "", "", builder, image, 120)
    yard.made.append(job)
    return job


def of(files: Mapping[str, str]) -> bytes:
    return of_files(dict(files))


@pytest.mark.parametrize(
    ("files", "builder"),
    [(APP, "nixpacks"), ({"Dockerfile": BASE + "COPY said.txt /said\nRUN uname -r\n", "said.txt": "x"}, "dockerfile")],
)
async def test_an_archive_is_built_and_pushed_and_goes_when_its_build_is_over(
    yard: Yard, files: Mapping[str, str], builder: str
) -> None:
    job = sent(yard, of(files), builder)
    digest = await yard.run(job)
    repository, _, tag = job.image.partition("/")[2].partition(":")
    assert await yard.builder._registry.holds(repository, tag) == digest
    assert "unpacking what was sent, sha256:" in yard.said(job)
    await yard.builder.discard(job.build_id)
    assert not (yard.folder / "builds" / job.build_id).exists()


async def test_a_link_that_leads_out_by_way_of_others_is_refused_before_anything_reads_it(yard: Yard) -> None:
    chain = [entry("a/b/c/x", b"x"), link("a/b/c/up", "../.."), link("s", "a/b/c/up/../..")]
    with pytest.raises(Rejected) as caught:
        await yard.run(sent(yard, packed(*chain), "nixpacks"))
    assert caught.value.code == "link_outside"
