"""Checkpoints: where the log was, signed, so that whoever keeps one sees later whether the log was written anew.

A checkpoint is a C2SP signed note (c2sp.org/signed-note) in the form of c2sp.org/tlog-checkpoint:

    ahplat/018f0000000070008000000000000bec          origin: which installation's log, and the signing key's name
    1000                                             the position
    jLbUMkJkmWmqg0ztQW8dDUQwMr…=                     base64 of the chain's link there (chain.py; no Merkle root)
    epoch 1                                          which life of the log
    at 1764488461                                    when it was signed, unix seconds
                                                     (an empty line)
    — ahplat/018f0000000070008000000000000bec base64(key id ‖ Ed25519 signature of the five lines)

All functions are pure. The invariant: what `opened` returns was signed by that key, byte for byte.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from hashlib import sha256

from msgspec import Struct
from nacl import bindings, exceptions

_ED25519 = b"\1"  # the signature type, as signed-note numbers them
_ID_BYTES, _KEY_BYTES, _SIGNATURE_BYTES, _LINK_BYTES = 4, 32, 64, 32
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_NOTE = re.compile("(?:^[^\n]+\n){3,}\n(?:^— [^\n]+\n)+".encode(), re.MULTILINE)


class NoteInvalid(Exception):
    """A text is no signed checkpoint, or not one of the key that it was to be of; the message says what is wrong."""


class Checkpoint(Struct, frozen=True):
    """The log of an installation had this link at this position, in this epoch; signed at `at_s`, unix seconds."""

    origin: str
    position: int
    link: bytes
    epoch: int
    at_s: int


class PublicKey(Struct, frozen=True):
    """What a signature is checked with. `name` is the origin of the checkpoints that it signs."""

    name: str
    ed25519: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of a hash over name and key; a hint, no proof."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.ed25519).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """As verifiers of signed notes are told it: `name+id+key`."""
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.ed25519).decode()}"


def origin_of(installation: str) -> str:
    """The name of an installation's log and of its key."""
    return f"ahplat/{installation}"


def public_key(name: str, seed: bytes) -> PublicKey:
    """The public half of a key that 32 random bytes are the secret of."""
    return PublicKey(name, bindings.crypto_sign_seed_keypair(seed)[0])


def parse_key(text: str) -> PublicKey:
    """A key as `PublicKey.text` has it. Raises NoteInvalid.

    >>> parse_key("a/b+6f6a2a80+AQ==")
    Traceback (most recent call last):
    events.checkpoint.NoteInvalid: 'a/b+6f6a2a80+AQ==' is no key: expected name+id+base64 of an Ed25519 key
    """
    name, _, rest = text.strip().partition("+")
    id_, _, encoded = rest.partition("+")
    kind_and_key = _decoded(encoded)
    if name and len(kind_and_key) == 1 + _KEY_BYTES and kind_and_key[:1] == _ED25519:
        key = PublicKey(name, kind_and_key[1:])
        if key.id.hex() == id_:
            return key
    raise NoteInvalid(f"{text.strip()[:200]!r} is no key: expected name+id+base64 of an Ed25519 key")


def signed(checkpoint: Checkpoint, seed: bytes) -> str:
    """The note: a checkpoint and its signature by the origin's key."""
    text = (
        f"{checkpoint.origin}\n{checkpoint.position}\n{b64encode(checkpoint.link).decode()}\n"
        f"epoch {checkpoint.epoch}\nat {checkpoint.at_s}\n"
    )
    key = public_key(checkpoint.origin, seed)
    _, secret = bindings.crypto_sign_seed_keypair(seed)
    signature = bindings.crypto_sign(text.encode(), secret)[:_SIGNATURE_BYTES]
    return f"{text}\n— {key.name} {b64encode(key.id + signature).decode()}\n"


def parse(note: str) -> Checkpoint:
    """What a note says, whoever signed it: not to be believed. Raises NoteInvalid."""
    text, gap, signatures = note.rpartition("\n\n")
    lines = text.split("\n")
    if not gap or len(lines) < 3 or not signatures.endswith("\n") or not all(lines):
        raise NoteInvalid("it is no signed note: expected three lines or more, an empty one, and signatures")
    origin, position, link = lines[0], lines[1], _decoded(lines[2])
    if not _NUMBER.fullmatch(position) or len(link) != _LINK_BYTES:
        raise NoteInvalid("it is no checkpoint: expected a position, and base64 of 32 bytes")
    more = dict(line.partition(" ")[::2] for line in lines[3:])
    epoch, at_s = more.get("epoch", ""), more.get("at", "")
    if not _NUMBER.fullmatch(epoch) or not _NUMBER.fullmatch(at_s):
        raise NoteInvalid("it names no epoch, or no time")
    return Checkpoint(origin, int(position), link, int(epoch), int(at_s))


def opened(note: str, key: PublicKey) -> Checkpoint:
    """What a note says that the key has signed. Signatures of others beside it do not matter. Raises NoteInvalid."""
    checkpoint = parse(note)
    if checkpoint.origin != key.name:
        raise NoteInvalid(f"it is of {checkpoint.origin}, expected {key.name}")
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        signature = _decoded(encoded)
        if dash == "—" and name == key.name and signature[:_ID_BYTES] == key.id:
            _check(f"{text}\n".encode(), signature[_ID_BYTES:], key)
            return checkpoint
    raise NoteInvalid(f"{key.name} did not sign it with the key {key.id.hex()}")


def _check(text: bytes, signature: bytes, key: PublicKey) -> None:
    try:
        bindings.crypto_sign_open(signature + text, key.ed25519)
    except (exceptions.CryptoError, ValueError) as error:
        raise NoteInvalid(f"the signature by {key.name} is not of this text") from error


def notes_in(file: bytes) -> Iterator[tuple[int, str]]:
    """(where it begins, the note) of each whole note of a file in which each stands after an empty line.

    What a crash tore is passed over.
    """
    for found in _NOTE.finditer(file):
        yield found.start(), found[0].decode(errors="replace")


def _decoded(text: str) -> bytes:
    """What base64 says; b"" where it is none."""
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError):
        return b""
