"""Keeps containers away from the host: on an internal bridge they still reach its addresses through the gateway.

One rule per address family drops what a bridge of ours (`ah…`) opens towards the host and lets answers pass, so router
and health checks still reach containers. Invariant: a rule that is there is never added twice.
"""

from pathlib import Path

from ahplat import limits, processes
from ahplat.errors import Unavailable

RULE = ("INPUT", "-i", "ah+", "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP")
IPV6 = Path("/proc/net/if_inet6")  # exists when the kernel has IPv6 at all


def programs(ipv6: bool) -> tuple[str, ...]:
    """Who keeps the rule: both families, or IPv4 alone on a kernel without IPv6, where nothing could come in by it.

    >>> programs(ipv6=False)
    ('iptables',)
    """
    return ("iptables", "ip6tables") if ipv6 else ("iptables",)


async def repair() -> list[str]:
    """Puts back what is gone and says what that was. Raises Unavailable `guard_failed`: then nothing may start."""
    repaired = []
    for program in programs(IPV6.exists()):  # noqa: ASYNC240 — a look into /proc
        if not await _stands(program):
            await _insert(program)
            repaired.append(f"{program}: {' '.join(RULE)}")
    return repaired


async def _stands(program: str) -> bool:
    checked = await processes.run([program, "-w", "5", "-C", *RULE], limits.FIREWALL_TIMEOUT_S)
    return checked.code == 0


async def _insert(program: str) -> None:
    inserted = await processes.run([program, "-w", "5", "-I", *RULE], limits.FIREWALL_TIMEOUT_S)
    if inserted.code != 0:
        why = inserted.stderr.strip()
        raise Unavailable("guard_failed", f"{program} could not close the host to containers: {why}")
