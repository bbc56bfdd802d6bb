"""Secrets: what is sealed before it becomes a fact, and the keys that open it.

`master.key` only wraps: through HKDF-SHA256, one derived key a purpose. Behind it, in `keys.db`, are random keys: one
for each tenant, which seals its fields, and the platform's own for indexes, fingerprints and tags, so that a new master key
changes neither index nor signature. A sealed field is bound to tenant, stream and field name: moved elsewhere, it does
not open. The invariant: a tenant's key is on the disk before the tenant's first event is.
"""

import contextlib
import hmac
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
from msgspec import Struct
from nacl import bindings, exceptions

from ahplat import durable, erasures, limits
from ahplat.errors import Unavailable, Unreadable
from events.checkpoint import Checkpoint, PublicKey, origin_of, public_key, signed
from events.database import BUSY_TIMEOUT_MS, open_database, read_sql, run_script

KEY_BYTES = 32
KEYS_BUSY_MS = 200  # that a destroyed key waits for another program to let go of the WAL
_WRAP_TENANT, _WRAP_PLATFORM = "ahplat wrap tenant keys", "ahplat wrap platform keys"
_AES, _XCHACHA = 1, 2  # first byte of an envelope
_PURPOSES = (
    *("answers", "email index", "cursors", "fingerprints", "key tags", "specs", "domain proofs"),
    "checkpoints",
)


class KeyFileBad(Exception):
    """`master.key` or `keys.db` cannot be used; the text says what to do."""


class Cipher(Struct, frozen=True):
    """An AEAD: `seal` and `open` take (text, associated data, nonce, key)."""

    tag: int
    nonce_bytes: int
    seal: Callable[[bytes, bytes, bytes, bytes], bytes]
    open: Callable[[bytes, bytes, bytes, bytes], bytes]


AES = Cipher(
    _AES,
    bindings.crypto_aead_aes256gcm_NPUBBYTES,
    bindings.crypto_aead_aes256gcm_encrypt,
    bindings.crypto_aead_aes256gcm_decrypt,
)
XCHACHA = Cipher(
    _XCHACHA,
    bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    bindings.crypto_aead_xchacha20poly1305_ietf_encrypt,
    bindings.crypto_aead_xchacha20poly1305_ietf_decrypt,
)
_CIPHERS = {cipher.tag: cipher for cipher in (AES, XCHACHA)}


def best_cipher() -> Cipher:
    """AES-256-GCM where the CPU has AES, XChaCha20-Poly1305 elsewhere."""
    try:
        AES.seal(b"", b"", bytes(AES.nonce_bytes), bytes(KEY_BYTES))
    except (exceptions.CryptoError, exceptions.UnavailableError):
        return XCHACHA
    return AES


def hkdf(key: bytes, purpose: str, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt; `purpose` is its info. At most 32 bytes.

    >>> hkdf(bytes([0x0B]) * 22, "", 32).hex()[:24]
    '8da4e775a563c18f715f802a'
    """
    extracted = hmac.digest(bytes(KEY_BYTES), key, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\1", "sha256")[:length]


def seal(cipher: Cipher, key: bytes, text: bytes, bound_to: str) -> bytes:
    """An envelope: algorithm, random nonce, ciphertext with its tag."""
    nonce = os.urandom(cipher.nonce_bytes)
    return bytes((cipher.tag,)) + nonce + cipher.seal(text, bound_to.encode(), nonce, key)


def unseal(key: bytes, envelope: bytes, bound_to: str) -> bytes:
    """What is in the envelope. Raises Unreadable."""
    cipher = _CIPHERS.get(envelope[0]) if envelope else None
    if cipher is None:
        raise Unreadable("the envelope names no known algorithm")
    nonce, text = envelope[1 : 1 + cipher.nonce_bytes], envelope[1 + cipher.nonce_bytes :]
    try:
        return cipher.open(text, bound_to.encode(), nonce, key)
    except (exceptions.CryptoError, ValueError) as error:
        raise Unreadable(f"the envelope does not open as {bound_to.rpartition(' ')[2]}") from error


def read_master_key(path: Path, may_make: bool) -> bytes:
    """The 32 bytes of `master.key`, made on first start. Raises KeyFileBad with the remedy."""
    if not path.exists():
        if not may_make:
            raise KeyFileBad(f"{path} is missing but there are keys wrapped with it: put the file back, mode 0600")
        write_master_key(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise KeyFileBad(f"{path} has mode {mode:04o}, so others may read it: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError as error:
        raise KeyFileBad(f"{path} does not hold 64 hex digits: put the right file back") from error
    if len(key) != KEY_BYTES:
        raise KeyFileBad(f"{path} holds {len(key)} bytes, expected {KEY_BYTES}: put the right file back")
    return key


def write_master_key(path: Path) -> None:
    """A new one, written whole and synced under another name first: there is never half a key. Raises OSError."""
    durable.write(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """Says in the platform's words that the disk is full."""
    try:
        yield
    except apsw.FullError as error:
        raise Unavailable("disk_full", "the disk is full: nothing was changed", 30) from error


class Keyring:
    """`keys.db` and what is unwrapped of it. Safe for threads."""

    def __init__(self, path: Path, master: bytes, may_make: bool = True) -> None:
        """Opens the file, or makes it, and the platform's keys in it, where that may be. Raises KeyFileBad."""
        self._lock = threading.Lock()
        self._path = path
        if not may_make and not (path.exists() and path.stat().st_size):
            raise KeyFileBad(f"{path} is missing or empty, but there is a log that it opens: restore it from a backup")
        try:
            self._db = open_database(path, "FULL")
            self._db.pragma("secure_delete", True)
            run_script(self._db, read_sql(__file__))
            if not may_make and not self._db.execute("SELECT count(*) FROM platform_key").get:
                raise KeyFileBad(f"{path} holds no keys, but there is a log that it opens: restore it from a backup")
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise KeyFileBad(f"{path} is damaged ({error}): restore it from a backup") from error
        self._cipher = best_cipher()
        self._wrap_tenant = hkdf(master, _WRAP_TENANT)
        self._wrap_platform = hkdf(master, _WRAP_PLATFORM)
        self._tenants: dict[str, bytes] = {}
        self._platform: dict[str, bytes] = {}
        for purpose in _PURPOSES:
            self._platform[purpose] = self._platform_key(purpose)

    def _platform_key(self, purpose: str) -> bytes:
        for (wrapped,) in self._db.execute("SELECT wrapped FROM platform_key WHERE purpose = ?", (purpose,)):
            try:
                return unseal(self._wrap_platform, wrapped, f"platform {purpose}")
            except Unreadable as error:
                raise KeyFileBad("keys.db was wrapped with another master.key: put the right file back") from error
        key = os.urandom(KEY_BYTES)
        wrapped = seal(self._cipher, self._wrap_platform, key, f"platform {purpose}")
        self._db.execute("INSERT INTO platform_key VALUES (?, ?)", (purpose, wrapped))
        return key

    def holds_tenants(self) -> bool:
        """Whether there is any tenant's key."""
        return bool(self._db.execute("SELECT count(*) FROM tenant_key").get)

    def create(self, tenant_id: str) -> None:
        """Makes the tenant's key; it is on the disk when this returns. Takes an fsync: not for the loop's thread.

        Raises Unavailable where there is no room for it.
        """
        key = os.urandom(KEY_BYTES)
        wrapped = seal(self._cipher, self._wrap_tenant, key, f"tenant {tenant_id}")
        with self._lock, _room():
            self._db.execute("INSERT INTO tenant_key VALUES (?, ?)", (tenant_id, wrapped))
            self._tenants[tenant_id] = key

    def destroy(self, tenant_id: str) -> None:
        """Forgets the tenant's key for good: in memory, in the file, in its WAL. Nothing happens where it is gone.

        While another program reads the file all the time (a replicator does), the WAL is emptied by that one's next
        checkpoint. Raises Unavailable where there is no room to write that down.
        """
        with self._lock, _room():
            self._tenants.pop(tenant_id, None)
            self._db.execute("DELETE FROM tenant_key WHERE tenant_id = ?", (tenant_id,))
            self._db.set_busy_timeout(KEYS_BUSY_MS)
            try:
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.BusyError:
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                self._db.set_busy_timeout(BUSY_TIMEOUT_MS)

    def erase(self, tenant_id: str) -> None:
        """Destroys the key of a tenant that has events, once that is noted where a restore finds it.

        Raises Unavailable where there is no room.
        """
        try:
            erasures.note(erasures.path_in(self._path.parent), [tenant_id])
        except OSError as error:
            raise Unavailable("disk_full", f"the erasure could not be noted ({error.strerror})", 30) from error
        self.destroy(tenant_id)

    def open_all(self) -> frozenset[str]:
        """Every tenant that has a key; each was opened. Raises KeyFileBad for the first that does not open."""
        found = []
        for tenant_id, wrapped in self._db.execute("SELECT tenant_id, wrapped FROM tenant_key"):
            try:
                unseal(self._wrap_tenant, wrapped, f"tenant {tenant_id}")
            except Unreadable as error:
                raise KeyFileBad(f"the key of tenant {tenant_id} does not open with this master.key") from error
            found.append(tenant_id)
        return frozenset(found)

    def wrap_anew(self, master: bytes) -> int:
        """Wraps all keys with another master key, in one transaction; returns how many. This object is done with then."""
        tables = (
            ("tenant_key", "tenant_id", "tenant", self._wrap_tenant, hkdf(master, _WRAP_TENANT)),
            ("platform_key", "purpose", "platform", self._wrap_platform, hkdf(master, _WRAP_PLATFORM)),
        )
        count = 0
        with self._lock, _room(), self._db:
            for table, column, kind, before, after in tables:
                for name, wrapped in list(self._db.execute(f"SELECT {column}, wrapped FROM {table}")):
                    key = unseal(before, wrapped, f"{kind} {name}")
                    anew = seal(self._cipher, after, key, f"{kind} {name}")
                    self._db.execute(f"UPDATE {table} SET wrapped = ? WHERE {column} = ?", (anew, name))
                    count += 1
        return count

    def _tenant_key(self, tenant_id: str) -> bytes:
        if key := self._tenants.get(tenant_id):
            return key
        with self._lock:
            wrapped = self._db.execute("SELECT wrapped FROM tenant_key WHERE tenant_id = ?", (tenant_id,)).get
            if wrapped is None:
                raise Unreadable(f"the key of tenant {tenant_id} is destroyed")
            if len(self._tenants) >= limits.TENANT_KEYS_CACHED:
                self._tenants.clear()
            key = self._tenants[tenant_id] = unseal(self._wrap_tenant, wrapped, f"tenant {tenant_id}")
        return key

    def seal(self, tenant_id: str, stream: str, field: str, text: bytes) -> bytes:
        """Seals a field for a tenant, bound to the stream and the field's name."""
        return seal(self._cipher, self._tenant_key(tenant_id), text, f"{tenant_id} {stream} {field}")

    def unseal(self, tenant_id: str, stream: str, field: str, envelope: bytes) -> bytes:
        """Opens a sealed field. Raises Unreadable when the tenant's key is destroyed or the place is another."""
        return unseal(self._tenant_key(tenant_id), envelope, f"{tenant_id} {stream} {field}")

    def seal_answer(self, tenant_id: str, answer: bytes, command: bytes) -> bytes:
        """Seals a stored answer: for its tenant, whose end is the answer's, or for the platform where there is none."""
        key = self._tenant_key(tenant_id) if tenant_id else self._platform["answers"]
        return seal(self._cipher, key, answer, f"answer {command.hex()}")

    def unseal_answer(self, tenant_id: str, envelope: bytes, command: bytes) -> bytes:
        """Opens a stored answer."""
        key = self._tenant_key(tenant_id) if tenant_id else self._platform["answers"]
        return unseal(key, envelope, f"answer {command.hex()}")

    def mac(self, purpose: str, text: bytes) -> bytes:
        """32 bytes that only this platform can make of `text`; equal texts give equal bytes."""
        return hmac.digest(self._platform[purpose], text, "sha256")

    def email_index(self, email: str) -> bytes:
        """By which an address is found without being read: upper and lower case are one."""
        return self.mac("email index", email.strip().lower().encode())

    def checkpoint_key(self, installation: str) -> PublicKey:
        """With which anybody checks what this platform signed of its log; a new master key does not change it."""
        return public_key(origin_of(installation), self._platform["checkpoints"])

    def signed(self, checkpoint: Checkpoint) -> str:
        """A checkpoint as a signed note."""
        return signed(checkpoint, self._platform["checkpoints"])

    def close(self) -> None:
        """Closes the file."""
        self._db.close()
