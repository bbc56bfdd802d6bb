"""What goes into the writer and what comes out: a request, its answer, and how that is found again by its idempotency key."""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import apsw
import msgspec
from msgspec import Struct

from ahplat.commands.command import Command
from ahplat.errors import Rejected
from ahplat.sealing import Keyring
from events.event import Event, Meta, Recorded
from events.log import Expected, read_command, read_command_secret

T = TypeVar("T")


class Answer(Struct, frozen=True):
    """What the caller is told: an HTTP status and body. `secret` is the body that also holds a secret, given for a day."""

    status: int = 204
    body: bytes = b""
    secret: bytes = b""
    location: str = ""
    version: int = 0  # of the resource, for the ETag; 0 for none


class Key(Struct, frozen=True):
    """An idempotency key, hashed: `id` of (principal, method, path, key), `fingerprint` of the body.

    The answer is sealed for `tenant_id`, whose end is the answer's; for the platform where the caller is no tenant.
    """

    id: bytes
    fingerprint: bytes
    tenant_id: str
    keeps_secret: bool = True  # False where whoever repeats cannot be known to be the first caller


class Done(Struct, frozen=True):
    """A command that was accepted: the positions of its events, and the answer. `replayed` when it had been before."""

    first_position: int
    last_position: int
    answer: Answer
    replayed: bool = False
    secret_expired: bool = False


Fact = tuple[Recorded, Event]


class Rehearsal(Struct, Generic[T], frozen=True):
    """What a command would have done: at `position` of the log and `version` of its stream, and what was seen around it."""

    position: int
    version: int
    facts: list[Fact]
    before: T
    after: T


class Request(Struct, frozen=True):
    """One command on its way. Where `look` is given it is a rehearsal: nothing of it stays."""

    command: Command
    meta: Meta
    expected: Expected
    answer: Callable[[apsw.Connection], Answer] | None
    key: Key | None
    future: asyncio.Future[Any]
    look: Callable[[apsw.Connection], Any] | None = None


Result = Done | Rehearsal[Any] | Exception


def answered(log: apsw.Connection, keyring: Keyring, key: Key, now_us: int) -> Done | Rejected | None:
    """What the same request was answered before; Rejected where the key came with another body, None where it is new."""
    row = read_command(log, key.id)
    if row is None:
        return None
    fingerprint, first, last, sealed = row
    if fingerprint != key.fingerprint:
        return Rejected("idempotency_mismatch", "the same Idempotency-Key came before with another body")
    answer = _ANSWER.decode(keyring.unseal_answer(key.tenant_id, sealed, key.id))
    if not answer.secret:
        return Done(first, last, answer, replayed=True)
    secret = read_command_secret(log, key.id, now_us) if key.keeps_secret else None
    if secret is None:
        return Done(first, last, msgspec.structs.replace(answer, secret=b""), replayed=True, secret_expired=True)
    body = keyring.unseal_answer(key.tenant_id, secret, key.id)
    return Done(first, last, msgspec.structs.replace(answer, secret=body), replayed=True)


_ANSWER = msgspec.json.Decoder(Answer)
