"""Opaque cursors of lists: where the last page ended, signed, so that nobody makes one up or uses another's."""

import base64
import hmac

from ahplat.errors import Rejected
from ahplat.sealing import Keyring

_TAG_BYTES = 12


def write(keyring: Keyring, scope: str, last: str) -> str:
    """A cursor that goes on after `last`, in this list only."""
    tag = keyring.mac("cursors", f"{scope} {last}".encode())[:_TAG_BYTES]
    return base64.urlsafe_b64encode(tag + last.encode()).rstrip(b"=").decode()


def read(keyring: Keyring, scope: str, cursor: str) -> str:
    """What `write` was given. Raises Rejected `cursor_gone` for a cursor of another list, tenant or epoch."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        tag, last = raw[:_TAG_BYTES], raw[_TAG_BYTES:].decode()
    except ValueError:
        tag, last = b"", ""
    if not hmac.compare_digest(tag, keyring.mac("cursors", f"{scope} {last}".encode())[:_TAG_BYTES]):
        raise Rejected("cursor_gone", "the cursor is not of this list, or from before a restore: begin without one")
    return last
