"""Builds over HTTP: a repository, or an archive that is sent, becomes an image, and that is deployed."""

from typing import Annotated, Literal, get_args

from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat.answers import Answer
from ahplat.api import uploads
from ahplat.api.call import Call, Reply, answer, json_reply
from ahplat.api.fields import At, Id, invalid
from ahplat.api.query import Paged, Waits
from ahplat.api.route import Route
from ahplat.api.services import find
from ahplat.commands.builds import CancelBuild, RequestBuild
from ahplat.errors import Rejected, Unavailable
from ahplat.sources import UPLOAD, Rules, check_ref, check_url
from events.builds import BuildRequested
from events.event import canonical
from projections import builds
from projections.builds import BuildRow

Status = Literal["pending", "running", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
StatusText = Annotated[str, Meta(extra_json_schema={"enum": STATUSES})]

Builder = Literal["nixpacks", "dockerfile"]

SourceUrl = Annotated[str, Meta(max_length=4_096)]
SourceRef = Annotated[str, Meta(max_length=4_096)]


class Build(Struct, frozen=True):
    """One build; what there is none of is absent. `queue_position` counts those that have their turn first, and itself.

    An archive's `commit` is its SHA-256. `step` is clone, plan, build, push or deploy: the one that is under way, or was last.
    """

    id: Id
    build_id: Id
    service_id: Id
    tenant_id: Id
    status: StatusText
    source_type: str
    source_url: str
    source_ref: str
    builder: str
    image: str
    step: str
    attempt: int
    created_at: At
    deployment_id: Id
    queue_position: int | UnsetType = UNSET
    commit: str | UnsetType = UNSET
    image_digest: str | UnsetType = UNSET
    started_at: At | UnsetType = UNSET
    finished_at: At | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


def render(call: Call, views: Connection, row: BuildRow) -> Build:
    """The public form of a build's row."""
    url = call.unsealed(row.tenant_id, f"build-{row.build_id}", "url", row.url)
    return Build(
        id=row.build_id,
        build_id=row.build_id,
        service_id=row.service_id,
        tenant_id=row.tenant_id,
        status=row.status,
        source_type="upload" if url.startswith(UPLOAD) else "git",
        source_url=url,
        source_ref=row.ref,
        builder=row.builder,
        image=row.image,
        step=row.step,
        attempt=row.attempt,
        created_at=row.created_at,
        deployment_id=row.deployment_id,
        queue_position=(0 if call.past else builds.place_of(views, row)) or UNSET,  # it is of all tenants' builds
        commit=row.commit_id or UNSET,
        image_digest=row.digest or UNSET,
        started_at=row.started_us // 1_000_000 if row.started_us else UNSET,
        finished_at=row.finished_at or UNSET,
        error_code=row.error_code or UNSET,
        error=call.unsealed(row.tenant_id, f"build-{row.build_id}", "detail", row.error) or row.error_code or UNSET,
    )


def find_build(call: Call) -> BuildRow:
    """The caller's build that the path names. Raises Rejected, the same for another tenant's as for none."""
    service = find(call, call.views, call.path_id())
    row = builds.find(call.views, call.path_id(1))
    if row is None or row.service_id != service.service_id:
        raise Rejected("build_not_found", f"the service has no build {call.path_id(1)[:64]}")
    return row


async def list_of_service(call: Call) -> Reply:
    """A service's builds, newest first."""
    return _list(call, find(call, call.views, call.path_id()).service_id)


async def list_all(call: Call) -> Reply:
    """All builds of the caller, newest first."""
    return _list(call, "")


def _list(call: Call, service_id: str) -> Reply:
    page = call.page("builds", call.asked(Paged))
    views = call.views
    rows = builds.list_of(views, call.tenant_id, service_id, page.limit, page.offset, page.before)
    last = rows[-1].build_id if rows else ""
    return call.listing("builds", page, [render(call, views, row) for row in rows], last)


class AskedOfOne(Waits):
    """What to wait for."""

    wait: Annotated[Status, Meta(description="answer as soon as the build has this status")] | UnsetType = UNSET


async def get(call: Call) -> Reply:
    """One build; with `?wait=<status>&timeout=<s>` as soon as it has that status, or has ended, or as it is by then."""
    row = find_build(call)
    asked = call.asked(AskedOfOne)
    if wanted := asked.wait:
        await call.app.hub.until(f"build-{row.build_id}", lambda: _has_come_to(call, wanted), asked.timeout)
        row = find_build(call)
    reply = json_reply(render(call, call.views, row))
    reply.headers["ETag"] = call.etag(row.version, reply.body)  # attempts are of other streams
    return reply


def _has_come_to(call: Call, wanted: str) -> bool:
    row = builds.find(call.views, call.path_id(1))
    return row is None or row.status == wanted or not row.is_open


class NewBuild(Struct):
    """What to build: `source_url` and `source_ref`, or as older clients say it `git_url` and `branch`."""

    source_type: Literal["git"] = "git"
    source_url: SourceUrl = ""
    source_ref: SourceRef = ""
    git_url: SourceUrl = ""
    branch: SourceRef = ""
    builder: Builder = "nixpacks"


class OfArchive(Struct):
    """What of a build stands in the query, where the body is an archive."""

    builder: Annotated[Builder, Meta(description="of an archive: how it is built")] = "nixpacks"


async def create(call: Call) -> Reply:
    """Builds a git repository, or an archive that is sent, and deploys what comes out, to a service that there is.

    Answers at once with status `pending`; `read_build_logs` follows it to its end, `get_build?wait=succeeded` waits for
    it. The repository has to be public and on a host that the operator allows; a commit, a branch or a tag is built. In
    place of JSON the body can be the source itself, a tar.gz as `application/gzip`; `?builder=` says how it is built.
    """
    if uploads.is_archive(call):
        return await _create_of_archive(call)
    body = call.body(NewBuild)
    find(call, call.views, call.path_id())
    url, ref = _source(call, body)
    await _see_that_it_builds(call, body.builder)
    reply = await _request(call, call.new_id(), url, ref, body.builder)
    await _wait(call, reply)
    return reply


async def _create_of_archive(call: Call) -> Reply:
    """The body is the source; `?builder=` says how it is built."""
    if call.raw and (before := call.recalled()):
        return before
    find(call, call.views, call.path_id())
    builder = call.asked(OfArchive).builder
    await _see_that_it_builds(call, builder)
    build_id = call.new_id()
    async with uploads.received(call, build_id) as archive:
        reply = await _request(call, build_id, f"{UPLOAD}{archive.digest}", "", builder)
        if builds.find(call.views, build_id) is None:  # it is the same as one that waits, or came before
            await archive.discard()
    await _wait(call, reply)
    return reply


async def _see_that_it_builds(call: Call, builder: str) -> None:
    kinds, status = call.app.builder.kinds, await call.app.builder.status()
    if builder not in kinds:
        raise invalid("/builder", f"this server builds with {', '.join(sorted(kinds))}")
    if not status.available:
        raise Unavailable("builds_unavailable", status.detail, 30)


async def _request(call: Call, build_id: str, url: str, ref: str, builder: str) -> Reply:
    app, service_id = call.app, call.path_id()
    source = app.keyring.mac("specs", canonical([service_id, url, ref, builder]))
    requested = BuildRequested(
        service_id=service_id,
        deployment_id=call.new_id(),
        url=app.keyring.seal(call.tenant_id, f"build-{build_id}", "url", url.encode()),
        ref=ref,
        source=source,
        builder=builder,
        image=app.builder.image_name(call.tenant_id, service_id, build_id),
    )
    command = RequestBuild(tenant_id=call.tenant_id, service_id=service_id, build_id=build_id, requested=requested)

    def rendered(views: Connection) -> Answer:
        row = builds.find(views, build_id) or builds.same_as(views, service_id, source)
        assert row
        location = f"/v1/services/{service_id}/builds/{row.build_id}"
        return answer(render(call, views, row), 202, location)

    return call.reply(await call.submit(command, rendered))


def _source(call: Call, body: NewBuild) -> tuple[str, str]:
    """(URL, ref), whichever way they were given. Raises Rejected."""
    config = call.app.config
    rules = Rules(config.allow_git_hosts, plain=config.dev)
    urls = {
        check_url(url, rules, at) for at, url in (("/source_url", body.source_url), ("/git_url", body.git_url)) if url
    }
    refs = {check_ref(ref, at) for at, ref in (("/source_ref", body.source_ref), ("/branch", body.branch)) if ref}
    if not urls:
        raise invalid("/source_url", "expected the address of a git repository")
    if len(urls) > 1 or len(refs) > 1:
        raise invalid("", "git_url and branch are other names of source_url and source_ref: give one of them")
    return urls.pop(), refs.pop() if refs else ""


async def _wait(call: Call, reply: Reply) -> None:
    """Waits as `Prefer: wait=` asks until the build has ended; a repeated command gets its first answer."""
    wait_s = None if "Idempotency-Replayed" in reply.headers else call.prefer.wait_s
    if wait_s is None:
        return
    build_id = reply.headers["Location"].rpartition("/")[2]
    views = call.views

    def has_ended() -> bool:
        row = builds.find(views, build_id)
        return row is None or not row.is_open

    await call.app.hub.until(f"build-{build_id}", has_ended, wait_s)
    row = builds.find(views, build_id)
    if row is not None:
        reply.body = json_reply(render(call, views, row)).body
    reply.headers["Preference-Applied"] = f"wait={wait_s}"


class Cancelled(Struct, frozen=True):
    """The build is called off, and never deploys."""

    status: str = "cancelled"


async def cancel(call: Call) -> Reply:
    """Calls a build off, wherever it is: what runs of it ends, and it never deploys."""
    find(call, call.views, call.path_id())
    command = CancelBuild(tenant_id=call.tenant_id, build_id=call.path_id(1), service_id=call.path_id())
    return await call.order(command, lambda _: Cancelled())


_BUILDS = "/v1/services/{service_id}/builds"
ROUTES = [
    Route(
        "POST",
        _BUILDS,
        create,
        "create_build",
        scope="deploy",
        body=NewBuild,
        archive=OfArchive,
        answer=Build,
        status=202,
        codes=("archive_invalid", "builds_unavailable", "quota_exceeded", "source_forbidden", "source_invalid"),
        waits=True,
        grows=True,
    ),
    Route("GET", _BUILDS, list_of_service, "list_service_builds", as_of=True, query=Paged, answer=list[Build]),
    Route(
        "GET", f"{_BUILDS}/{{build_id}}", get, "get_build", as_of=True, query=AskedOfOne, answer=Build, versioned=True
    ),
    Route(
        "DELETE",
        f"{_BUILDS}/{{build_id}}",
        cancel,
        "cancel_build",
        scope="deploy",
        answer=Cancelled,
        codes=("build_ended",),
    ),
    Route("GET", "/v1/builds", list_all, "list_builds", as_of=True, query=Paged, answer=list[Build]),
]
