"""`Prefer: wait=` (RFC 7240): the answer to a command comes once what it set in motion has ended, or at the timeout."""

from ahplat.api.call import Call, Reply
from events.event import wire_name
from events.services import ServiceRouted
from projections import todo

DRAINING = wire_name(
    ServiceRouted
)  # what comes after a deployment serves: nobody waits for it, nor for what is put off


async def waited(call: Call, stream: str, reply: Reply, subject: str = "") -> bool:
    """Waits, where that is asked for, until no work about `stream`, or `subject` if given, is open; whether it did.

    A repeated command gets its first answer, as that was before any waiting.
    """
    wait_s = None if "Idempotency-Replayed" in reply.headers else call.prefer.wait_s
    if wait_s is None:
        return False
    views, until_us = call.views, call.app.clock.now_us() + wait_s * 1_000_000

    def has_ended() -> bool:
        return all(work.type == DRAINING or work.since_us > until_us for work in todo.open_of(views, subject or stream))

    await call.app.hub.until(stream, has_ended, wait_s)
    reply.headers["Preference-Applied"] = f"wait={wait_s}"
    return True
