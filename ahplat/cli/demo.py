"""`ah demo`: the main job on this machine, told from the log: a tenant, a service, its URL."""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click
import uvloop

from ahplat import limits
from ahplat.cli.looking import EXIT_FAILED, failed
from ahplat.cli.serve import EXIT_CANNOT_START
from ahplat.config import Config
from ahplat.errors import CannotStart
from ahplat.main import Running, start
from projections import tenants, todo

_TENANT = "demo"
_DEPLOY_S = 60
_ERASE_S = 30


class DemoFailed(Exception):
    """The demo did not come to its end; the text says where, and what the platform said."""


@click.command()
@click.option("--engine", type=click.Choice(["embedded", "docker"]), default="embedded", show_default=True)
@click.option("--image", default="ah/hello", show_default=True, help="What to deploy. Docker wants one of its own.")
@click.option("--git", default="", metavar="URL", help="Build this repository instead, and deploy what comes of it.")
@click.option("--docker-host", default="", envvar=["AH_DOCKER_HOST", "DOCKER_HOST"], help="Docker's address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 (the default) is any free one.")
@click.option("--once", is_flag=True, help="End after the story instead of serving until Ctrl-C.")
def demo(engine: str, image: str, git: str, docker_host: str, port: int, once: bool) -> None:
    """Show the platform at work: start it, register a tenant, deploy a service, ask its URL, tell the story.

    Everything is kept in a temporary folder and is gone at the end.
    """
    with tempfile.TemporaryDirectory(prefix="ah-demo-") as folder:
        config = Config(
            data_dir=Path(folder),
            port=port,
            engine=engine,
            docker_host=docker_host,
            dev=True,
            open_registration=True,
            drain_s=0.0,
            disk_full_percent=100,  # what it takes is gone in the end
            allow_git_hosts=frozenset({urlsplit(git).netloc.lower()} if git else ()),
        )
        try:
            uvloop.run(_demo(config, image, git, once))
        except (CannotStart, DemoFailed) as error:
            failed(str(error), EXIT_CANNOT_START if isinstance(error, CannotStart) else EXIT_FAILED)


async def _demo(config: Config, image: str, git: str, once: bool) -> None:
    interrupted = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, interrupted.set)
    running = await start(config)
    try:
        async with aiohttp.ClientSession(f"http://{config.host}:{running.app.port}") as session:
            telling = asyncio.ensure_future(_tell(session, running, image, git))
            waiting = asyncio.ensure_future(interrupted.wait())
            await asyncio.wait({telling, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                key = await telling
                if not once:
                    _say_how_to_go_on(running, key)
                    await waiting
            telling.cancel()
            waiting.cancel()
    finally:
        click.echo("stopping: the demo's tenant is erased, its folder goes")
        await _erase_all(running)
        await running.close()


async def _tell(session: aiohttp.ClientSession, running: Running, image: str, git: str) -> str:
    """Does the main job over HTTP and prints what the log says of it; returns the tenant's key."""
    engine = running.app.engine
    note = "" if engine.name == "docker" else " (services are not isolated: for trying out)"
    click.echo(f"serving on port {running.app.port} of this machine, engine {engine.name}{note}")
    tenant = await _call(session, "POST", "/v1/tenants/register", "", {"name": _TENANT, "email": "demo@example.org"})
    key = str(tenant["api_key"])
    click.echo("registered the tenant demo")
    wanted = {"name": "web", "image": "pending" if git else image}
    service = await _call(session, "POST", "/v1/services", key, wanted, wait_s=_DEPLOY_S)
    if git:
        service = await _build(session, key, service, git)
    if service["status"] != "running":
        raise DemoFailed(f"the service is {service['status']}: {service.get('last_error', 'no error was recorded')}")
    click.echo(f"deployed {service['image']} as the service web")
    host = service["url"].removeprefix("http://")
    async with session.get("/", headers={"Host": host}) as response:
        click.echo(f"GET {service['url']}/ answers {response.status}: {(await response.text()).strip()[:200]}\n")
    await running.app.hub.until_committed(lambda: not todo.open_of_all(running.app.views), _DEPLOY_S)
    events = await _call(session, "GET", "/v1/events?after=0&limit=200", key)
    _print_story(events)
    return key


async def _build(session: aiohttp.ClientSession, key: str, service: Any, git: str) -> Any:
    """Has the repository built, shows what the build says as it says it, and returns the service once that runs."""
    path = f"/v1/services/{service['id']}"
    build = await _call(session, "POST", f"{path}/builds", key, {"source_url": git})
    click.echo(f"building {git}:\n")
    headers = {"Authorization": f"Bearer {key}"}
    whole = aiohttp.ClientTimeout(total=limits.BUILD_DEADLINE_S)
    async with session.get(f"{path}/builds/{build['id']}/logs", headers=headers, timeout=whole) as log:
        async for line in log.content:
            click.echo("  " + line.decode().rstrip("\n"))
    build = await _call(session, "GET", f"{path}/builds/{build['id']}", key)
    if build["status"] != "succeeded":
        raise DemoFailed(f"the build {build['status']}: {build.get('error', 'no error was recorded')}")
    click.echo("")
    return await _call(session, "GET", f"{path}?wait=running&timeout={_DEPLOY_S}", key)


async def _call(
    session: aiohttp.ClientSession, method: str, path: str, key: str, body: Any = None, wait_s: int = 0
) -> Any:
    headers = {"Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if wait_s:
        headers["Prefer"] = f"wait={wait_s}"
    async with session.request(method, path, json=body, headers=headers) as response:
        answer = await response.json()
        if response.status >= 300:
            raise DemoFailed(f"{method} {path} answers {response.status}: {answer['detail']}")
        return answer


def _print_story(events: list[dict[str, Any]]) -> None:
    """Position, event, cause, and how long after its cause (after the first, where it has none)."""
    at_us = {event["position"]: event["at_us"] for event in events}
    first_us = min(at_us.values())
    click.echo("what happened, from the log:\n\n  position  event                      cause      after")
    for event in events:
        cause = event.get("cause", 0)
        after_ms = (event["at_us"] - at_us.get(cause, first_us)) / 1000
        shown = f"{cause:>5}  {after_ms:>8.1f} ms" if cause else f"    –  {after_ms:>8.1f} ms in"
        click.echo(f"  {event['position']:>8}  {event['type']:<25}  {shown}")


def _say_how_to_go_on(running: Running, key: str) -> None:
    url = f"http://127.0.0.1:{running.app.port}"
    bearer = '-H "Authorization: Bearer $AH_KEY"'
    click.echo(f"""
go on from another terminal:

  export AH_URL={url} AH_KEY={key}
  curl -s $AH_URL/v1/services {bearer}
  curl -s http://web.demo.localhost:{running.app.port}/
  curl -sN --max-time 5 "$AH_URL/v1/events?after=0" {bearer}

Ctrl-C ends it.""")


async def _erase_all(running: Running) -> None:
    """Instances outlive a server; those of a demo should not: the operator has its tenant erased."""
    app = running.app
    for tenant in tenants.list_all(app.views, limit=1, offset=0, before=""):
        connector = aiohttp.UnixConnector(str(app.config.data_dir / "operator.sock"))
        async with aiohttp.ClientSession("http://operator", connector=connector) as session:
            await _call(session, "DELETE", f"/v1/tenants/{tenant.tenant_id}/data", "", {"confirm": _TENANT})
        await app.hub.until(f"tenant-{tenant.tenant_id}", lambda: _is_erased(running), _ERASE_S)


def _is_erased(running: Running) -> bool:
    return all(row.status == "erased" for row in tenants.list_all(running.app.views, limit=1, offset=0, before=""))
