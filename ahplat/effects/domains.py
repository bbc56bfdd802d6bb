"""What is done about host names that tenants claim: their TXT records are looked for, less and less often."""

from collections.abc import Collection

from apsw import Connection
from msgspec import structs

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.domains import FinishDomainCheck
from ahplat.effects.task import Effect, Task
from ahplat.names.proofs import look, proof_of
from events.domains import ServiceDomainCheckRequested
from events.event import Event, Intent
from projections.todo import TodoRow

NOUN = "domain-"  # of the subjects of this work


async def check(task: Task[ServiceDomainCheckRequested]) -> list[Event] | Command:
    """Looks once. What that means is decided where it is seen who else has the name."""
    platform, asked = task.platform, task.intent
    service_id = task.subject.removesuffix(f".{asked.host}")
    task.outcome_stream = f"service-{service_id}"
    proof = proof_of(platform.keyring, task.work.tenant_id, asked.host)
    finding = await task.step(look, platform.upstreams, task.work.tenant_id, proof)
    return FinishDomainCheck(
        tenant_id=task.work.tenant_id,
        service_id=service_id,
        host=asked.host,
        intent=task.work.intent,
        attempt=task.attempt,
        finding=finding,
        again=next_look(asked, platform.clock.now_us()),
    )


def next_look(asked: ServiceDomainCheckRequested, now_us: int) -> ServiceDomainCheckRequested | None:
    """The look after this one, should it find nothing; None where its time would be over."""
    due_us = now_us + int(wait_s(asked.number) * 1e6)
    return structs.replace(asked, number=asked.number + 1, due_us=due_us) if due_us <= asked.until_us else None


def wait_s(number: int) -> float:
    """How long after the look of that number, counted from 1, the next one comes.

    >>> [wait_s(number) for number in (1, 2, 3, 8, 1000)]
    [30.0, 60.0, 120.0, 3600.0, 3600.0]
    """
    first, most = limits.DOMAIN_CHECK_S
    return min(first * 2.0 ** min(number - 1, 32), most)


def has_turn(_: Connection, __: TodoRow, at_work: Collection[str]) -> bool:
    """Whether few enough are looked for already: a resolver that says nothing keeps no deployment waiting."""
    return sum(subject.startswith(NOUN) for subject in at_work) < limits.DOMAIN_CHECKS


EFFECTS: dict[type[Intent], Effect] = {
    ServiceDomainCheckRequested: Effect(check, has_turn=has_turn),
}
