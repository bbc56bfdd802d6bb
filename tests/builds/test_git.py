"""Repositories that are not what they should be: each is a clear refusal within bounds, and nothing is left running."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import pytest_asyncio

from ahplat import limits
from ahplat.builders import git
from ahplat.builders.build_logs import BuildLogs
from ahplat.builders.builder import Job
from ahplat.builders.sandbox import Confinement, Room, room
from ahplat.builders.workplace import Workplace
from ahplat.errors import Rejected
from ahplat.sealing import Keyring
from tests.builds.git_server import GitServer, serving
from tests.builds.git_server import git as run_git
from tests.builds.marked import of_build
from tests.folders import memory_folder

pytestmark = pytest.mark.embedded

TENANT = "a" * 32


@pytest.fixture
def server() -> Iterator[GitServer]:
    with memory_folder() as folder, serving(folder) as made:
        yield made


class Cloner:
    """Clones as a build does."""

    def __init__(self, folder: Path, how: Confinement | None = None) -> None:
        self.how = how
        self.keyring = Keyring(folder / "keys.db", bytes(32))
        self.keyring.create(TENANT)
        self.logs = BuildLogs(folder / "buildlogs", self.keyring)
        self.folder = folder / "builds"
        self.place = Workplace(self.folder, secrets.token_hex(16))

    async def clone(self, url: str, ref: str = "", commit: str = "", left_s: float = 60) -> str:
        job = Job("7" * 32, TENANT, "1" * 32, url, ref, commit, "nixpacks", "i", left_s)
        await self.place.begin()
        with self.logs.open(TENANT, "7" * 32, []) as log:

            def made(place: Workplace, folder: Path) -> AbstractAsyncContextManager[Room]:
                return room(place, folder, limits.CLONE_BYTES, self.how)

            return await git.clone(self.place, job, log, made)

    async def refused(self, url: str, ref: str = "") -> Rejected:
        """Why it is not cloned; nothing is left running by then."""
        with pytest.raises(Rejected) as caught:
            await self.clone(url, ref)
        assert not self.place.source.exists()
        assert not of_build(self.place.folder.name)
        return caught.value


@pytest_asyncio.fixture
async def cloner() -> AsyncIterator[Cloner]:
    with memory_folder() as folder:
        made = Cloner(folder)
        yield made
        made.keyring.close()


async def test_a_commit_comes_without_history_and_without_gits_own_files(server: GitServer, cloner: Cloner) -> None:
    first = server.repository("web", {"a": "1"})
    second = server.repository("web", {"a": "2"})
    assert await cloner.clone(server.url("web")) == second
    assert sorted(path.name for path in cloner.place.source.iterdir()) == ["a"]
    cloner.place = Workplace(cloner.folder, secrets.token_hex(16))
    assert await cloner.clone(server.url("web"), first) == first


async def test_a_source_that_is_there_is_not_fetched_again(server: GitServer, cloner: Cloner) -> None:
    commit = server.repository("web", {"a": "1"})
    await cloner.clone(server.url("web"))
    asked = len(server.asked)
    assert await cloner.clone(server.url("web"), commit=commit) == commit
    assert len(server.asked) == asked


async def test_a_submodule_is_refused_by_name(server: GitServer, cloner: Cloner) -> None:
    commit = server.repository("web", {"a": "1"})
    tree = server.folder / "web.tree"
    run_git(tree, "update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/lib")
    run_git(tree, "commit", "--quiet", "-m", "a submodule")
    run_git(tree, "push", "--quiet", "origin", "main")
    error = await cloner.refused(server.url("web"))
    assert error.code == "submodules_unsupported"
    assert "vendor/lib" in error.detail


@pytest.mark.parametrize("links", [{"x": "/etc/passwd"}, {"x": "../../x"}, {"d": "..", "x": "d/../.."}])
async def test_a_link_out_of_the_repository_is_refused(
    server: GitServer, cloner: Cloner, links: dict[str, str]
) -> None:
    server.repository("web", {"a": "1"}, links)
    assert (await cloner.refused(server.url("web"))).code == "link_outside"


async def test_a_link_within_the_repository_is_kept(server: GitServer, cloner: Cloner) -> None:
    server.repository("web", {"d/a": "1"}, {"x": "d/a", "dangling": "d/none"})
    await cloner.clone(server.url("web"))
    assert (cloner.place.source / "x").read_text() == "1"


async def test_a_large_repository_is_refused_while_it_comes(
    server: GitServer, cloner: Cloner, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repository("web", {"a": secrets.token_bytes(3_000_000)})
    monkeypatch.setattr(limits, "CLONE_BYTES", 1_000_000)
    assert (await cloner.refused(server.url("web"))).code in ("repository_too_large", "clone_failed")


async def test_a_repository_that_grows_when_it_is_unpacked_is_refused_before_that(
    server: GitServer, cloner: Cloner, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repository("web", {f"zeros{n}": bytes(900_000) for n in range(5)})
    monkeypatch.setattr(limits, "CLONE_BYTES", 2_000_000)
    error = await cloner.refused(server.url("web"))
    assert error.code == "repository_too_large"
    assert "its files have" in error.detail


async def test_too_many_files_are_refused(server: GitServer, cloner: Cloner, monkeypatch: pytest.MonkeyPatch) -> None:
    server.repository("web", {f"f{n}": "" for n in range(50)})
    monkeypatch.setattr(limits, "CLONE_ENTRIES", 20)
    assert (await cloner.refused(server.url("web"))).code == "repository_too_large"


async def test_a_redirect_is_not_followed(server: GitServer, cloner: Cloner) -> None:
    server.repository("web", {"a": "1"})

    def redirects(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", handler.path.replace("/moved.git", "/web.git"))
        handler.end_headers()

    server.answers["/moved.git"] = redirects
    assert (await cloner.refused(server.url("moved"))).code == "source_redirected"
    assert all("/moved.git" in path for path in server.asked)


async def test_a_password_is_never_asked_for(server: GitServer, cloner: Cloner) -> None:
    def wants_a_password(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="x"')
        handler.end_headers()

    server.answers["/secret.git"] = wants_a_password
    assert (await cloner.refused(server.url("secret"))).code == "source_unauthorized"


async def test_what_is_no_repository_is_said_so(server: GitServer, cloner: Cloner) -> None:
    assert (await cloner.refused(server.url("nothing"))).code == "clone_failed"


async def test_a_ref_that_is_not_there_is_said_so(server: GitServer, cloner: Cloner) -> None:
    server.repository("web", {"a": "1"})
    for ref in ("nowhere", "f" * 40):
        assert (await cloner.refused(server.url("web"), ref)).code == "ref_not_found"


async def test_a_server_that_never_answers_is_given_up(server: GitServer, cloner: Cloner) -> None:
    server.repository("web", {"a": "1"})
    server.delay.append(("upload-pack", threading.Event()))
    with pytest.raises(Rejected, match="clone_timeout"):
        await cloner.clone(server.url("web"), left_s=0.5)
    assert not of_build(cloner.place.folder.name)


async def test_a_clone_that_is_cancelled_leaves_nothing_running(server: GitServer, cloner: Cloner) -> None:
    server.repository("web", {"a": "1"})
    server.delay.append(("upload-pack", threading.Event()))
    cloning = asyncio.ensure_future(cloner.clone(server.url("web")))
    async with asyncio.timeout(10):
        while not of_build(cloner.place.folder.name):
            await asyncio.sleep(0.01)
    cloning.cancel()
    await asyncio.gather(cloning, return_exceptions=True)
    async with asyncio.timeout(5):  # what was killed is gone a moment later
        while of_build(cloner.place.folder.name):
            await asyncio.sleep(0.01)
