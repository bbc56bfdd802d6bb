"""Proof that a host name is a tenant's: a TXT record that only who holds the name's zone can set.

The record's value follows from tenant and name under a key of the platform's own: who knows one knows no other, and two
tenants who claim one name are told two values. What a resolver says counts only as a whole answer to this very question.
"""

from typing import Literal

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.TXT
from msgspec import Struct

from ahplat.hosts import HOST_CHARACTERS
from ahplat.names import message
from ahplat.names.message import Query
from ahplat.names.upstream import Upstreams
from ahplat.sealing import Keyring

PREFIX = "_ahplat."
PROVEN_CHARACTERS = HOST_CHARACTERS - len(PREFIX)  # of a name whose record still has a name

Finding = Literal["found", "record_missing", "record_differs", "no_answer"]


class Proof(Struct, frozen=True):
    """The TXT record that a tenant is to set."""

    name: str
    type: Literal["TXT"]
    value: str


def proof_of(keyring: Keyring, tenant_id: str, host: str) -> Proof:
    """The same for the same tenant and name, always."""
    mac = keyring.mac("domain proofs", f"{tenant_id} {host}".encode())
    return Proof(PREFIX + host, "TXT", f"ahplat-verify={mac[:20].hex()}")


async def look(upstreams: Upstreams, tenant_id: str, proof: Proof) -> Finding:
    """Asks for the record; also through a CNAME, which only who holds the zone can set as well."""
    query = message.read(dns.message.make_query(proof.name, proof.type).to_wire())
    assert isinstance(query, Query), proof.name
    answer = await upstreams.ask(tenant_id, query)
    if answer is None or answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return "no_answer"
    texts = texts_of(answer)
    if proof.value in texts:
        return "found"
    return "record_differs" if texts else "record_missing"


def texts_of(answer: dns.message.Message) -> list[str]:
    """The TXT records that answer the question, the strings of each joined (RFC 7208, section 3.3)."""
    if not isinstance(answer, dns.message.QueryMessage):
        return []
    try:
        records = answer.resolve_chaining().answer
    except dns.exception.DNSException:  # a loop of CNAMEs, or no answer to a question at all
        return []
    found = [record for record in records or () if isinstance(record, dns.rdtypes.ANY.TXT.TXT)]
    return [b"".join(record.strings).decode("latin-1") for record in found]
