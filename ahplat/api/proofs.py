"""What shows to others that the log is what it was: the newest checkpoint, and the proof that an event is in the log.

Whoever has a proof needs neither this server nor its word: chain.py says how leaf and links are made, checkpoint.py how a
checkpoint is signed. `bin/ah-verify` does the same over a whole log.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ahplat.api.call import JSON, Call, Reply, json_reply
from ahplat.api.fields import At
from ahplat.api.route import Route
from ahplat.api.why import found_event
from ahplat.checkpoints import Signed
from events.checkpoint import PublicKey
from events.event import Recorded

_TEXT = "text/plain; charset=utf-8"

Hash = Annotated[
    str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="SHA-256, hexadecimal", examples=["d91bb581a1444643" * 4])
]


class CheckpointAnswer(Struct, frozen=True):
    """The log had this link at this position. `note` says so signed (c2sp.org/signed-note), `key` is what it opens with."""

    position: int
    link: Hash
    epoch: int
    at: At
    note: str
    key: Annotated[str, Meta(description="the public key, as `name+id+base64(1 ‖ Ed25519 key)`; keep it elsewhere")]


class Framed(Struct, frozen=True):
    """An event exactly as it was hashed. Text is hashed as UTF-8; sealed fields are in `data` as they are in the log."""

    position: int
    stream: str
    version: int
    type: str
    at_us: int
    tenant_id: str
    data: str
    meta: str


class ProofAnswer(Struct, frozen=True):
    """That an event is in the log that a checkpoint was signed of.

    leaf = SHA-256(0x00 ‖ the six parts of the event, each as its length in 8 bytes, big endian, and its bytes), the parts
    being "position NUL version NUL at_us" in decimal digits, stream, type, tenant_id, data, meta. It is the first of
    `leaves`. From `before` on, link = SHA-256(0x01 ‖ link ‖ leaf) for each of `leaves`; the last link is the checkpoint's.
    """

    event: Framed
    before: Hash
    leaves: list[Hash]
    checkpoint: CheckpointAnswer


async def checkpoint(call: Call) -> Reply:
    """How far the log had come when it was last signed: a signed note, or JSON with the public key, by `Accept`.

    Kept elsewhere, it shows later whether the log was written anew. A new one is there every 1,000 events and 5 minutes.
    """
    signed = await call.app.checkpoints.newest()
    if JSON in call.request.headers.get("Accept", ""):
        return json_reply(_answer(signed, call.app.checkpoints.key), Vary="Accept")
    return Reply(200, signed.note.encode(), _TEXT, {"Vary": "Accept"})


async def proof(call: Call) -> Reply:
    """Proves that one of your events is in the log, unchanged and in its place, to anybody who has the public key.

    Where no checkpoint covers the event yet, one is signed at once.
    """
    found = await call.app.checkpoints.proof(found_event(call).position)
    return json_reply(
        ProofAnswer(
            event=_framed(found.event),
            before=found.before.hex(),
            leaves=[leaf.hex() for leaf in found.leaves],
            checkpoint=_answer(found.signed, call.app.checkpoints.key),
        )
    )


def _framed(at: Recorded) -> Framed:
    return Framed(
        position=at.position,
        stream=at.stream,
        version=at.version,
        type=at.type,
        at_us=at.at_us,
        tenant_id=at.tenant,
        data=at.data.decode(),
        meta=at.meta.decode(),
    )


def _answer(signed: Signed, key: PublicKey) -> CheckpointAnswer:
    found = signed.checkpoint
    return CheckpointAnswer(found.position, found.link.hex(), found.epoch, found.at_s, signed.note, key.text)


ROUTES = [
    Route(
        "GET",
        "/v1/checkpoint",
        checkpoint,
        "get_checkpoint",
        auth="none",
        answer=CheckpointAnswer,
        text=True,
        codes=("not_ready",),
    ),
    Route(
        "GET",
        "/v1/events/{event_position}/proof",
        proof,
        "get_event_proof",
        scope="admin",
        answer=ProofAnswer,
        codes=("not_ready",),
    ),
]
