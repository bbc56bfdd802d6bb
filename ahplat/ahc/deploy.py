"""`ahc deploy`: an image, a repository or a folder becomes a service that answers; or the next version of one."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from ahplat.ahc import follow, names
from ahplat.ahc.env import of_arguments
from ahplat.ahc.failures import CONFLICT, FAILED, USAGE, Failure
from ahplat.ahc.pack import Packed, pack
from ahplat.ahc.session import Session, changes, not_empty, pass_session, waits

_PLACEHOLDER = "pending"  # the image of a service that waits for its first build
_UPLOAD_S = 180.0  # of silence, while the server looks through an archive


class Wish(Struct, frozen=True):
    """What is to be deployed, as what, and with which settings; those that were not given are absent."""

    kind: str  # image, git or folder
    source: str
    name: str
    settings: Mapping[str, Any]
    env: Mapping[str, str]
    ref: str
    builder: str


@click.command()
@click.argument("source")
@click.argument("name", default="", callback=not_empty)
@click.argument("port_", metavar="[PORT]", type=int, default=0)
@click.option("--port", type=int, help="Where the program listens; it finds it in PORT. 8000 unless said.")
@click.option("--env", "-e", "pairs", multiple=True, metavar="KEY=VALUE", help="A variable; as often as wanted.")
@click.option("--memory-mb", type=int, help="Its memory.")
@click.option("--cpu", "cpu_count", type=float, help="Its CPUs; fractions are fine.")
@click.option("--replicas", type=int, help="How many instances.")
@click.option("--health-path", help="A path that answers 2xx or 3xx once it is up; else its port has to be open.")
@click.option("--ref", default="", help="Branch, tag or commit of a repository.")
@click.option("--builder", type=click.Choice(["nixpacks", "dockerfile"]), default="nixpacks", show_default=True)
@waits
@changes
@pass_session
def deploy(
    session: Session,
    /,
    source: str,
    name: str,
    port_: int,
    port: int | None,
    pairs: tuple[str, ...],
    ref: str,
    builder: str,
    wait: bool,
    **given: Any,
) -> None:
    """Deploy SOURCE as the service NAME, which is made where it is not there yet.

    SOURCE is an image (ah/hello, nginx:alpine), the address of a git repository (https://…), or a folder: what git
    ignores there, and what .dockerignore names, is not sent. What serves goes on until the new one is healthy.

    \b
      ahc deploy ah/hello web
      ahc deploy nginx:alpine site --port 80
      ahc deploy https://github.com/acme/web --ref main
      ahc deploy . web --port 3000 -e MODE=production
      ahc deploy . --dry-run
    """
    kind = kind_of(source)
    settings = {field: value for field, value in {"port": port or port_ or None, **given}.items() if value is not None}
    wish = Wish(kind, source, name or name_for(source, kind), settings, of_arguments(pairs), ref, builder)
    found = names.find_or_none(session.client, "service", wish.name)
    if kind == "image":
        _deploy_image(session, wish, found, wait)
    elif kind == "git":
        _build(session, wish, found, wait, None, "")
    else:
        with tempfile.TemporaryDirectory(prefix="ahc-") as scratch:
            archive = Path(scratch) / "source.tar.gz"
            packed = pack(Path(source).expanduser(), archive)
            _build(session, wish, found, wait, archive, _told(session, packed))


def kind_of(source: str) -> str:
    """What a source is, by its form, or by the folder that is there.

    >>> [kind_of(source) for source in (".", "./app", "https://github.com/a/b", "git@github.com:a/b", "nginx:alpine")]
    ['folder', 'folder', 'git', 'git', 'image']
    """
    if "://" in source or source.startswith("git@"):
        return "git"
    if source in (".", "..") or source.startswith(("./", "../", "/", "~")) or Path(source).is_dir():
        return "folder"
    return "image"


def name_for(source: str, kind: str) -> str:
    """A service's name where none was given.

    >>> name_for("https://github.com/acme/My_App.git", "git"), name_for("127.0.0.1:5000/ah/web:1.2@sha256:0f", "image")
    ('my-app', 'web')
    """
    if kind == "folder":
        last = Path(source).expanduser().resolve().name
    else:
        last = source.rstrip("/").rpartition("/")[2].removesuffix(".git")
    if kind == "image":
        last = last.partition("@")[0].partition(":")[0]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:63] or "app"


def _told(session: Session, packed: Packed) -> str:
    for path in packed.left_out:
        session.screen.warn(f"{path} is left out: it is a repository of its own, or no file")
    text = f"{packed.files} files, {packed.size / 1024:.1f} KiB"
    session.screen.progress(f"packed {text}")
    return text


def _deploy_image(session: Session, wish: Wish, found: dict[str, Any] | None, wait: bool) -> None:
    made = _made_before(session, wish) if found else _create(session, wish, wish.source, "")
    service = made or found or {}
    if made:
        rows = session.client.read(f"/v1/services/{made['id']}/deployments", limit=1)
        deployment_id = rows[0]["id"] if rows else ""  # the image may be a placeholder
    else:
        _configure(session, wish, service)
        reply = session.order("POST", f"/v1/services/{service['id']}/deploy", {"image": wish.source})
        deployment_id = reply.json["id"]
    if wait and deployment_id:
        service = follow.deployment(session, service, deployment_id)
    _show(session, service, {"deployment_id": deployment_id})


def _build(
    session: Session, wish: Wish, found: dict[str, Any] | None, wait: bool, archive: Path | None, packed: str
) -> None:
    then = f"send {packed} and build them" if archive else f"build {wish.source}"
    service = found or _create(session, wish, _PLACEHOLDER, then)
    if found:
        _configure(session, wish, service)
    try:
        build = _order_build(session, wish, f"/v1/services/{service['id']}/builds", archive)
    except Failure as failure:
        if not found and failure.code in (USAGE, CONFLICT):  # nothing will come of it
            session.order("DELETE", f"/v1/services/{service['id']}")
        raise
    session.going_on(f"ahc logs {service['name']} {build['id']}")
    if wait:
        build = follow.build(session, service, build["id"])
        if build.get("error_code"):
            what = f"the image is built, and was not deployed: {build['error_code']}"
            raise Failure(
                FAILED, what, f"`ahc status {service['name']}`", {"detail": what, "code": build["error_code"]}
            )
        service = follow.deployment(session, service, build["deployment_id"])
    session.settled()
    _show(session, service, {"build_id": build["id"]})


def _order_build(session: Session, wish: Wish, path: str, archive: Path | None) -> dict[str, Any]:
    if archive:
        fields, query = {"Content-Type": "application/gzip"}, {"builder": wish.builder}
        reply = session.order("POST", path, file=archive, fields=fields, query=query, timeout_s=_UPLOAD_S)
    else:
        body = {"source_type": "git", "source_url": wish.source, "builder": wish.builder}
        reply = session.order("POST", path, body | ({"source_ref": wish.ref} if wish.ref else {}))
    build: dict[str, Any] = reply.json
    return build


def _create(session: Session, wish: Wish, image: str, then: str) -> dict[str, Any]:
    body = {"name": wish.name, "image": image, **wish.settings}
    if wish.env:
        body["env"] = dict(wish.env)
    reply = session.order("POST", "/v1/services", body, then=then)
    if reply.was_replayed and _was_taken_back(session, reply.json["id"]):
        session.begin_anew()
        return _create(session, wish, image, then)
    service: dict[str, Any] = reply.json
    if image != _PLACEHOLDER:
        session.going_on(f"ahc status {service['name']}")
    session.screen.progress(f"service {service['name']} made")
    return service


def _was_taken_back(session: Session, service_id: str) -> bool:
    """Whether this key's invocation removed what it had made, for its build was refused. Raises Failure: another did."""
    if names.find_or_none(session.client, "service", service_id):
        return False
    return session.order("DELETE", f"/v1/services/{service_id}").was_replayed


def _made_before(session: Session, wish: Wish) -> dict[str, Any] | None:
    """The service, where an invocation with this key made it; None where it was there already."""
    if session.dry_run or not session.is_repeat:
        return None
    try:
        return _create(session, wish, wish.source, "")
    except Failure as failure:
        if failure.problem.get("code") != "name_taken":
            raise
        return None


def _configure(session: Session, wish: Wish, service: dict[str, Any]) -> None:
    """Settings of a service that is there; they hold from the deployment on that comes next."""
    changed = {field: value for field, value in wish.settings.items() if service.get(field) != value}
    if changed:
        session.order("PATCH", f"/v1/services/{service['id']}", changed, goes_on=True)
    if wish.env:
        session.order("POST", f"/v1/services/{service['id']}/env", dict(wish.env), goes_on=True)


def _show(session: Session, service: dict[str, Any], more: dict[str, str]) -> None:
    def show() -> None:
        session.screen.line(f"{service['name']} {service['status']}  {service['url']}")

    session.screen.result(service | more, show)
