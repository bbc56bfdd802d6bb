"""What a command and a decision are.

A command is what somebody wants, with all that the decision needs from outside: ids, times, sealed values. `load` reads
the state from the writer's own views (it sees what earlier commands of the same batch did), `decide` is a function of
values and returns the facts that follow, all for one stream.
"""

from collections.abc import Callable
from typing import Any

from apsw import Connection
from msgspec import Struct

from events.event import Event


class Command(Struct, frozen=True, kw_only=True):
    """What somebody wants. `tenant_id` is whose it is, "" for what belongs to no tenant."""

    tenant_id: str


class Decision(Struct, frozen=True):
    """How a command is decided. `stream` is a template over the command's fields: `service-{0.service_id}`.

    `load` and `decide` raise Rejected; nothing has been written by then. What `frees` room, or records the end of what
    was begun, is decided on a disk that is full, too.
    """

    load: Callable[[Connection, Any], Any]
    decide: Callable[[Any, Any], list[Event]]
    stream: str
    frees: bool = False

    def stream_of(self, command: Command) -> str:
        """The stream that the command's events go to."""
        return self.stream.format(command)
