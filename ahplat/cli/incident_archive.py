"""What happened to one tenant between two positions, as the files of one archive that can be handed on.

Events as the stream shows them, the views before and after and what differs, activity in words, what instances and builds
said, metrics, and what proves the events: the links of the chain and the checkpoints. The invariant: nothing sealed is in
it. What programs said is unsealed with the folder's own keys, and of that the tenant's variables, passwords and API keys
are taken out: see redaction.py.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.api import frames
from ahplat.builders.build_logs import BuildLogs
from ahplat.cli.diff import differences, state_tables
from ahplat.cli.looking import line_of, shown
from ahplat.engines import run_logs
from ahplat.errors import Unreadable
from ahplat.redaction import Redaction
from ahplat.sealing import Keyring
from events import chain
from events.catalog import decode
from events.event import Recorded
from events.log import link_at, read_tenant_and_platform, read_verified
from projections import instances
from projections.compare import shown_rows
from projections.past import views_at

CHUNK = 2_000
_SAID = ("detail", "tail")  # sealed fields with what a program or a tool said
_CHECKPOINTS = ("signed", "key", "known")  # not `erased`, which names others


class Span(Struct, frozen=True):
    """The tenant's events after one position, up to another."""

    tenant_id: str
    after: int
    up_to: int


class FileIn(Struct, frozen=True):
    """A file of the archive."""

    name: str
    bytes: int
    sha256: str


class Manifest(Struct, frozen=True):
    """What is in the archive. `left_out` says what is not, and why."""

    version: str
    tenant_id: str
    first_position: int
    last_position: int
    files: list[FileIn]
    left_out: list[str]


Part = tuple[str, bytes]


def parts(data_dir: Path, log: Connection, span: Span, keyring: Keyring | None, left_out: list[str]) -> Iterator[Part]:
    """The files, but metrics and manifest, one after the other. Without a keyring nothing that was said is in it.

    What is not there to be read is added to `left_out`.
    """
    recorded = list(_events(log, span))
    yield "events.ndjson", _lines(frames.encode(shown(at)) for at in recorded)
    yield "activity.txt", _lines(line_of(shown(at)).encode() for at in recorded if at.tenant)
    before, after = (views_at(log, span.tenant_id, position) for position in (span.after, span.up_to))
    for name, views in (("before", before), ("after", after)):
        yield f"{name}.json", _json({table: shown_rows(views, table) for table in state_tables(views)})
    yield "diff.json", _json(differences(before, after))
    if keyring:
        redaction = Redaction(keyring, span.tenant_id, (before, after), recorded)
        yield from _said(data_dir, keyring, redaction, recorded)
        yield from _running(data_dir, redaction, after, left_out)
    yield "proof.json", _json(_proof(log, span))
    for name in _CHECKPOINTS:
        path = data_dir / "checkpoints" / name
        if path.exists():
            yield f"checkpoints/{name}", _end_of(path)


def _events(log: Connection, span: Span) -> Iterator[Recorded]:
    after = span.after
    while found := read_tenant_and_platform(log, span.tenant_id, after, span.up_to, CHUNK):
        yield from found
        after = found[-1].position


def _said(data_dir: Path, keyring: Keyring, redaction: Redaction, recorded: list[Recorded]) -> Iterator[Part]:
    """What failures and crashes left of what was said, and the ends of build logs."""
    for at in recorded:
        event: Any = decode(at.type, at.data)
        texts = [_unsealed(keyring, at, event, field) for field in _SAID if getattr(event, field, b"")]
        if any(texts):
            yield f"logs/{at.position}-{at.type}.txt", redaction.of("\n".join(filter(None, texts)) + "\n")
    logs = BuildLogs(data_dir / "buildlogs", keyring)
    for build, tenant in dict.fromkeys((at.subject, at.tenant) for at in recorded if at.stream.startswith("build-")):
        if lines := list(_build_lines(logs, tenant, build)):
            yield f"logs/build-{build}.txt", redaction.of(_lines_of(lines[-limits.INCIDENT_LINES :]))


def _unsealed(keyring: Keyring, at: Recorded, event: Any, field: str) -> str:
    for stream in dict.fromkeys((at.stream, getattr(event, "subject", at.stream))):
        try:
            return keyring.unseal(at.tenant, stream, field, getattr(event, field)).decode(errors="replace")
        except Unreadable:
            continue
    return ""


def _build_lines(logs: BuildLogs, tenant: str, build: str) -> Iterator[str]:
    offset = 0
    try:
        while (found := logs.read(tenant, build, 0, offset))[0]:
            yield from (line.text for line in found[0])
            offset = found[1]
    except Unreadable:
        return


def _running(data_dir: Path, redaction: Redaction, views: Connection, left_out: list[str]) -> Iterator[Part]:
    """The ends of the logs of instances that serve, where this folder has them: the embedded engine's."""
    for instance in instances.names(views):
        path = run_logs.names(data_dir / "run" / instance.rpartition(".")[0])[0]
        if path.exists():
            said = run_logs.unstamped(_end_of(path)).decode(errors="replace")
            yield f"logs/instance-{instance}.txt", redaction.of(said)
        else:
            left_out.append(f"the log of instance {instance}: this folder has none; `docker logs` may")


def _proof(log: Connection, span: Span) -> dict[str, Any]:
    """What `ah verify` checks, of these positions: that each link follows from the one before and the event's bytes."""
    link = link_at(log, span.after)
    proof = {"link_before": {"position": span.after, "link": link.hex()}, "holds": True, "why_not": ""}
    position = span.after
    try:
        for events in read_verified(log, position, link, span.up_to, CHUNK):
            position, link = events[-1].position, events[-1].link
    except chain.ChainBroken as broken:
        proof |= {"holds": False, "why_not": f"the chain does not hold at {broken}"}
    return proof | {"last_link": {"position": position, "link": link.hex()}}


def _end_of(path: Path) -> bytes:
    """The last of a file, from the beginning of a line on."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limits.INCIDENT_TAIL_BYTES))
        end = file.read()
    return end if size <= limits.INCIDENT_TAIL_BYTES else end.partition(b"\n")[2]


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _lines_of(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def write(out: Path, files: Iterable[Part], manifest: Callable[[list[FileIn]], Manifest], at_s: int) -> Manifest:
    """Writes the archive, for its owner's eyes; the manifest stands last in it. Raises OSError, FileExistsError too."""
    folder = out.name.removesuffix(".tar.gz")
    written: list[FileIn] = []
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:

            def add(name: str, content: bytes) -> None:
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, at_s
                archive.addfile(entry, io.BytesIO(content))

            for name, content in files:
                add(name, content)
                written.append(FileIn(name, len(content), hashlib.sha256(content).hexdigest()))
            made = manifest(written)
            add("manifest.json", _json(made))
    except BaseException:
        out.unlink()
        raise
    return made
