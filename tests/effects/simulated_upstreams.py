"""Whom effects ask for names outside: TXT records in a dict."""

import dns.message
import dns.rcode
import dns.rrset

from ahplat.names.message import Query
from ahplat.names.upstream import Upstreams


class SimulatedUpstreams(Upstreams):
    """`texts` by name; what is not there does not exist. `away` says nothing. `asked` counts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.away = False
        self.asked = 0

    async def ask(self, tenant: str, query: Query) -> dns.message.Message | None:
        self.asked += 1
        if self.away:
            return None
        answer = dns.message.make_response(query.message)
        name = query.message.question[0].name
        if text := self.texts.get(name.to_text(omit_final_dot=True)):
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", f'"{text}"'))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return dns.message.from_wire(answer.to_wire())  # as it would be read off the wire
