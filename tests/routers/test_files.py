"""The folder that Traefik watches holds what the views say: no more, no less, and never half of a file."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from ahplat.errors import CannotStart, Unavailable
from ahplat.routers.dynamic import Entry, Shown, urls_of, written
from ahplat.routers.files import FilesRouter
from ahplat.routers.router import Route

WEB = Route("1", ("web.acme.localhost",), ("10.0.0.1:80",))
SHOP = Route("2", ("shop.acme.localhost",), ("10.0.0.2:80",))
NEXT = Route("1", WEB.hosts, ("10.0.0.3:80",))


class Api:
    """What Traefik would show."""

    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.services: dict[str, Shown] = {}
        self.away = False

    async def version(self) -> str:
        if self.away:
            raise Unavailable("router_away", "nobody answers")
        return "3.6.12"

    async def service(self, name: str) -> Shown | None:
        if self.away:
            raise Unavailable("router_away", "nobody answers")
        return self.services.get(name)

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def router(tmp_path: Path, api: Api) -> FilesRouter:
    made = FilesRouter(tmp_path / "dynamic", api, Entry())  # type: ignore[arg-type]
    made.prepare()
    return made


def files(router: FilesRouter) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(router.folder.iterdir())}


async def follow(router: FilesRouter, *routes: Route, everything: bool = True) -> list[tuple[str, str]]:
    return list(await router.follow(lambda: list(routes), everything))


async def test_there_is_one_file_for_each_service_and_nothing_else(router: FilesRouter) -> None:
    assert await follow(router, WEB, SHOP, Route("3")) == []
    assert files(router) == {"ah-1.yml": written(WEB, Entry()), "ah-2.yml": written(SHOP, Entry())}
    assert [path.name for path in router.staging.iterdir()] == ["lock"]


async def test_a_file_can_be_read_by_traefik_whatever_our_umask(router: FilesRouter) -> None:
    before = os.umask(0o077)
    try:
        await follow(router, WEB)
    finally:
        os.umask(before)
    (path,) = router.folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


async def test_a_service_that_went_leaves_no_file(router: FilesRouter) -> None:
    await follow(router, WEB, SHOP)
    assert await follow(router, Route("1"), everything=False) == []
    assert list(files(router)) == ["ah-2.yml"]
    await follow(router)
    assert files(router) == {}


async def test_what_has_not_changed_is_not_written_again(router: FilesRouter) -> None:
    await follow(router, WEB)
    before = (router.folder / "ah-1.yml").stat()
    await follow(router, WEB)
    after = (router.folder / "ah-1.yml").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_a_file_comes_whole_or_not_at_all(router: FilesRouter) -> None:
    """It is another file under the same name: who reads the old one reads it to its end."""
    await follow(router, WEB)
    with (router.folder / "ah-1.yml").open("rb") as old:
        await follow(router, NEXT)
        assert old.read() == written(WEB, Entry())
    assert files(router)["ah-1.yml"] == written(NEXT, Entry())


@pytest.mark.parametrize("finding", ["missing", "changed"])
async def test_what_somebody_else_did_to_a_file_is_repaired_and_said(router: FilesRouter, finding: str) -> None:
    await follow(router, WEB, SHOP)
    if finding == "missing":
        (router.folder / "ah-1.yml").unlink()
    else:
        (router.folder / "ah-1.yml").write_text("http: [")
    assert await follow(router, WEB, SHOP) == [("1", finding)]
    assert files(router) == {"ah-1.yml": written(WEB, Entry()), "ah-2.yml": written(SHOP, Entry())}
    assert await follow(router, WEB, SHOP) == []


async def test_what_the_start_finds_is_made_right_without_a_word(router: FilesRouter) -> None:
    """The views went on while nobody wrote: that is no finding."""
    (router.folder / "ah-1.yml").write_bytes(written(WEB, Entry()))
    assert await follow(router, NEXT) == []
    assert files(router) == {"ah-1.yml": written(NEXT, Entry())}


async def test_what_is_nobodys_is_moved_out_and_kept(router: FilesRouter) -> None:
    (router.folder / "dashboard.yml").write_text("http: [")
    (router.folder / "ah-99.yml").write_text("x")
    (router.folder / "more").mkdir()
    (router.folder / "link.yml").symlink_to("/nowhere")
    await follow(router, WEB)
    assert list(files(router)) == ["ah-1.yml"]
    assert (router.foreign / "dashboard.yml").read_text() == "http: ["
    (router.folder / "dashboard.yml").write_text("again")
    (router.folder / "more").mkdir()
    await follow(router, WEB)
    assert (router.foreign / "dashboard.yml").read_text() == "again"
    assert list(files(router)) == ["ah-1.yml"]


async def test_what_a_stranger_put_there_does_not_wait_for_the_next_look_where_a_switch_does(
    router: FilesRouter,
) -> None:
    await follow(router, WEB, SHOP)
    (router.folder / "dashboard.yml").write_text("http: [")
    await router.lead(7, NEXT)
    assert files(router) == {"ah-1.yml": written(NEXT, Entry()), "ah-2.yml": written(SHOP, Entry())}


async def test_a_route_that_cannot_be_written_is_held_back_alone(router: FilesRouter) -> None:
    await follow(router, WEB, SHOP)
    bad = Route("1", ("a b`)",), ("10.0.0.1:80",))
    await follow(router, bad, Route("2", SHOP.hosts, ("10.0.0.9:80",)))
    assert files(router)["ah-1.yml"] == written(WEB, Entry())
    assert b"10.0.0.9" in files(router)["ah-2.yml"]


async def test_two_services_with_one_host_are_told_apart(router: FilesRouter) -> None:
    await follow(router, WEB, Route("2", (*SHOP.hosts, *WEB.hosts), SHOP.servers))
    rules = [next(iter(json.loads(data)["http"]["routers"].values()))["rule"] for data in files(router).values()]
    assert rules == ["Host(`web.acme.localhost`)", "Host(`shop.acme.localhost`)"]


# a switch


async def test_what_a_switch_told_it_stands_against_the_views_until_its_outcome(router: FilesRouter) -> None:
    await follow(router, WEB)
    await router.lead(7, NEXT)
    assert await follow(router, WEB) == []
    assert files(router)["ah-1.yml"] == written(NEXT, Entry())
    assert router.let_go(8) is None
    assert router.let_go(7) == "1"
    await follow(router, WEB, everything=False)
    assert files(router)["ah-1.yml"] == written(WEB, Entry())


async def test_a_first_switch_is_not_taken_for_a_file_of_nobodys(router: FilesRouter) -> None:
    await router.lead(7, WEB)
    await follow(router)
    assert list(files(router)) == ["ah-1.yml"]


async def test_what_follows_reads_the_views_when_it_is_its_turn(router: FilesRouter) -> None:
    """Not before: else it would write what was true before the switch that it waited for."""
    view = WEB
    async with router._writing:
        following = asyncio.create_task(router.follow(lambda: [view], everything=True))
        await asyncio.sleep(0)
        view = NEXT
    await following
    assert files(router)["ah-1.yml"] == written(NEXT, Entry())


async def test_it_shows_a_route_when_traefik_has_exactly_its_servers(router: FilesRouter, api: Api) -> None:
    two = Route("1", WEB.hosts, ("10.0.0.1:80", "10.0.0.2:80"))
    api.services["ah-1@file"] = Shown(urls_of(two))
    assert await router.shows(two)
    assert not await router.shows(WEB)
    assert not await router.shows(Route("1", two.hosts, two.servers, "c0ffee"))
    assert not await router.shows(Route("1"))
    del api.services["ah-1@file"]
    assert await router.shows(Route("1"))
    assert not await router.shows(WEB)


async def test_it_says_whether_traefik_is_there(router: FilesRouter, api: Api) -> None:
    assert (await router.status()).available
    api.away = True
    assert (await router.status()).detail == "nobody answers"
    with pytest.raises(Unavailable, match="nobody answers"):
        await router.shows(WEB)


async def test_a_folder_that_went_is_unavailable_and_not_the_end(router: FilesRouter) -> None:
    await follow(router, WEB)
    (router.folder / "ah-1.yml").unlink()
    router.folder.rmdir()
    with pytest.raises(Unavailable, match="cannot be written"):
        await router.lead(7, NEXT)


async def test_a_folder_is_one_servers_until_that_is_gone(router: FilesRouter, api: Api) -> None:
    other = FilesRouter(router.folder, api, Entry())  # type: ignore[arg-type]
    with pytest.raises(CannotStart, match="another server uses"):
        other.prepare()
    await router.close()
    other.prepare()
    await other.close()


def test_a_folder_that_cannot_be_used_is_one_line_at_the_start(tmp_path: Path, api: Api) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="--traefik-config-dir"):
        FilesRouter(tmp_path / "file" / "dynamic", api, Entry()).prepare()  # type: ignore[arg-type]
