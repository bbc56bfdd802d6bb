"""Waiting for what was set in motion, live for who watches: a build's lines, then its deployment's states."""

import json
from collections.abc import Iterator
from typing import Any

from ahplat.ahc import sse
from ahplat.ahc.failures import FAILED, UNAVAILABLE, Failure
from ahplat.ahc.session import Session

LOOK_S = 1  # of one question for a state: the server answers as soon as it is what is hoped for
WAIT_AT_MOST_S = 3_600.0  # for one thing
TAIL_LINES = 20  # of a log, shown where nobody watched
DONE = {"deployment": "running", "service": "running", "database": "running", "build": "succeeded"}
ENDED = {  # states in which nothing more comes of it, in words
    "failed": "failed",
    "crashed": "crashed",
    "superseded": "was superseded by a newer one",
    "stopped": "was stopped",
    "cancelled": "was cancelled",
    "circuit_open": "crashed too often",
    "deleted": "was deleted",
}


def waited(session: Session, kind: str, name: str, path: str) -> dict[str, Any]:
    """The thing at `path` once it is what is hoped for. Raises Failure where it came to another end."""
    until_s = session.world.clock.monotonic() + WAIT_AT_MOST_S
    while True:
        found: dict[str, Any] = session.client.read(path, wait=DONE[kind], timeout=LOOK_S)
        status = str(found["status"])
        session.screen.state(f"{kind} of {name}" if kind == "deployment" else f"{kind} {name}", status)
        if status == DONE[kind]:
            return found
        if status in ENDED:
            raise ended_otherwise(kind, name, found)
        if session.world.clock.monotonic() > until_s:
            raise Failure(UNAVAILABLE, f"the {kind} {name} is still {status}", "look again later")


def ended_otherwise(kind: str, name: str, found: dict[str, Any]) -> Failure:
    """The failure that says why, with the last lines that were kept. `name` is the service's, or the database's."""
    why = found.get("error_message") or found.get("last_error") or found.get("error") or found.get("error_code") or ""
    code = found.get("error_code") or ""
    of = f"the {kind} {name}" if kind == "database" else f"the {kind} of {name}"
    what = f"{of} {ENDED[found['status']]}"
    tail = str(found.get("log_tail") or "").splitlines()[-TAIL_LINES:]
    lines = [f"{what}: {why}" if why else what, *(f"  | {line}" for line in tail)]
    hint = f"`ahc status {name}` shows what serves; `ahc logs {name}` what it said" if kind == "deployment" else ""
    problem = {"title": "The work failed", "detail": lines[0], "code": code or "failed", kind: found}
    return Failure(FAILED, "\n".join(lines), hint, problem)


def deployment(session: Session, service: dict[str, Any], deployment_id: str) -> dict[str, Any]:
    """The service once a deployment of it serves. Raises Failure."""
    session.going_on(f"ahc status {service['name']}")
    path = f"/v1/services/{service['id']}"
    waited(session, "deployment", service["name"], f"{path}/deployments/{deployment_id}")
    session.settled()
    found: dict[str, Any] = session.client.read(path)
    return found


def build(session: Session, service: dict[str, Any], build_id: str) -> dict[str, Any]:
    """A build that succeeded, its lines shown as they come. Raises Failure."""
    session.going_on(f"ahc logs {service['name']} {build_id}")
    path = f"/v1/services/{service['id']}/builds/{build_id}"
    lines: list[str] = []
    if session.screen.has_people:
        before = session.client.read(path).get("queue_position", 1) - 1
        if before:
            session.screen.progress(f"waiting: {before} builds have their turn first")
        lines = build_lines(session, path)
    found = waited_build(session, service, path)
    if found["status"] != "succeeded":
        failure = ended_otherwise("build", service["name"], found)
        shown = lines or [line["text"] for line in past_lines(session, path)]
        if not session.screen.has_people:
            failure.what = "\n".join([failure.what, *(f"  | {line}" for line in shown[-TAIL_LINES:])])
        failure.advise(f"`ahc logs {service['name']} {build_id}` shows all of it")
        raise failure
    session.settled()
    return found


def waited_build(session: Session, service: dict[str, Any], path: str) -> dict[str, Any]:
    """A build that has ended, however that was."""
    while True:
        found: dict[str, Any] = session.client.read(path, wait="succeeded", timeout=60)
        if found["status"] not in ("pending", "running"):
            return found
        session.screen.state(f"build of {service['name']}", found["status"], found.get("step", ""))


def build_lines(session: Session, path: str) -> list[str]:
    """Shows a build's lines until it has ended; returns them."""
    seen: list[str] = []
    for frame in followed(session, f"{path}/logs", {}):
        if frame.event == "line":
            seen.append(frame.data)
            session.screen.progress(frame.data, "bold" if frame.data.startswith("==>") else "dim")
    return seen


def past_lines(session: Session, path: str) -> list[dict[str, Any]]:
    """A build's lines as far as they are."""
    frames = followed(session, f"{path}/logs", {"follow": "false"}, once=True)
    return [{"number": int(frame.id), "text": frame.data} for frame in frames]


def followed(
    session: Session, path: str, query: dict[str, Any], *, last_id: str = "", once: bool = False
) -> Iterator[sse.Frame]:
    """Frames of a stream; see `sse.follow`."""
    tell, sleep = session.screen.progress, session.world.sleep
    return sse.follow(session.client, path, query, sleep=sleep, tell=tell, last_id=last_id, once=once)


def data_of(frame: sse.Frame) -> Any:
    """A frame's JSON."""
    return json.loads(frame.data)
