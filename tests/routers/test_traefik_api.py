"""What Traefik's API says is believed only where it says it; anything else is that it is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from ahplat import limits
from ahplat.errors import Unavailable
from ahplat.routers.dynamic import Shown
from ahplat.routers.traefik import TraefikApi


@pytest.fixture
async def api() -> AsyncIterator[TraefikApi]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case "/api/version":
                return web.json_response({"Version": "3.6.12"})
            case "/api/http/services/ah-1@file":
                return web.json_response({"status": "enabled", "loadBalancer": {"servers": [{"url": "http://a:1"}]}})
            case "/api/http/services/broken@file":
                return web.Response(status=500)
            case "/api/http/services/text@file":
                return web.Response(text="<html>")
            case "/api/http/services/moved@file":
                return web.Response(status=302, headers={"Location": "/api/version"})
            case "/api/http/services/slow@file":
                await asyncio.sleep(60)
        return web.Response(status=404)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.01)  # 0 means without end
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = TraefikApi(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    yield made
    await made.close()
    await runner.cleanup()


async def test_it_says_its_version_and_what_a_service_has(api: TraefikApi) -> None:
    assert await api.version() == "3.6.12"
    assert await api.service("ah-1@file") == Shown(frozenset({"http://a:1"}))
    assert await api.service("ah-2@file") is None


@pytest.mark.parametrize("name", ["broken", "text", "moved", "slow"])
async def test_anything_else_is_that_it_is_away(api: TraefikApi, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ROUTER_REQUEST_S", 0.05)
    with pytest.raises(Unavailable, match="answer"):
        await api.service(f"{name}@file")


async def test_nobody_there_is_that_it_is_away() -> None:
    api = TraefikApi("http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="does not answer"):
        await api.version()
    await api.close()
