"""Sessions of the legacy protocol. Each is a signed word that says which version was agreed upon: nothing is kept of it.

So a session outlives a restart, costs no memory, and cannot be ended by DELETE, which the protocol leaves to servers (405).
It grants nothing: every request has a key of its own, and a session of another tenant is no session.
"""

from http import HTTPStatus

from ahplat.api import cursors
from ahplat.api.call import Call
from ahplat.errors import Rejected
from ahplat.mcp.protocol import INVALID_REQUEST, LEGACY, Fault


def begin(call: Call, version: str) -> str:
    """A new session's id: visible ASCII, as a header field."""
    return cursors.write(call.app.keyring, _scope(call), f"{version} {call.new_id()}")


def version_of(call: Call, session: str) -> str:
    """The version that was agreed upon in a session of the caller's tenant. Raises Fault: 404, which means begin anew."""
    try:
        version = cursors.read(call.app.keyring, _scope(call), session).partition(" ")[0]
    except Rejected:
        version = ""
    if version not in LEGACY:
        raise Fault(INVALID_REQUEST, "there is no such session: initialize again", status=HTTPStatus.NOT_FOUND)
    return version


def _scope(call: Call) -> str:
    return f"mcp {call.tenant_id}"
