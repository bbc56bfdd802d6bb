"""DNS messages (RFC 1035, 6891) as values: what a packet asks, and the packets that answer it. No socket, no lookup.

The library parses and writes the messages. Invariant: `read` raises nothing, whatever the bytes are; what is no query is
None, and nobody is answered.
"""

import struct
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from msgspec import Struct

from ahplat import limits

HEADER_BYTES = 12
_META_TYPES = range(128, 256)  # transfers, ANY and the like (RFC 6895, section 3.1): questions about no record
_SECTIONS = ("answer", "authority", "additional")


class Query(Struct, frozen=True):
    """One question. `labels` are lower case and without the root; `udp_bytes` is what its asker takes in one packet."""

    message: dns.message.Message
    labels: tuple[str, ...]
    type: int
    udp_bytes: int


def read(packet: bytes) -> Query | bytes | None:
    """The question, or the answer to one that cannot be dealt with, or None for what is no query at all."""
    if not HEADER_BYTES <= len(packet) <= limits.NAMES_QUERY_BYTES or packet[2] & 0x80:  # too long, or an answer
        return None
    if packet[2] & 0x78:
        return _header(packet, dns.rcode.NOTIMP)
    try:
        message = dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError, struct.error):
        return None
    if len(message.question) != 1 or message.answer or message.authority:
        return _header(packet, dns.rcode.FORMERR)
    question = message.question[0]
    if question.rdclass != dns.rdataclass.IN:
        return _header(packet, dns.rcode.REFUSED)
    if question.rdtype in _META_TYPES:
        return _header(packet, dns.rcode.NOTIMP)
    labels = tuple(label.decode("latin-1").lower() for label in question.name.labels if label)
    udp_bytes = max(limits.NAMES_UDP_BYTES_LEAST, min(message.payload, limits.NAMES_UDP_BYTES))
    return Query(message, labels, question.rdtype, udp_bytes)


def known(query: Query, addresses: Sequence[str]) -> dns.message.Message:
    """The answer for a name that exists: its addresses, which the library shuffles; for other types that it has none."""
    answer = _answer(query, dns.rcode.NOERROR)
    if query.type == dns.rdatatype.A and addresses:
        name = query.message.question[0].name  # as it was written, so that who asks recognises it
        answer.answer = [dns.rrset.from_text_list(name, limits.NAMES_TTL_S, "IN", "A", list(addresses))]
    answer.flags |= dns.flags.AA
    return answer


def unknown(query: Query) -> dns.message.Message:
    """The answer for a name that does not exist here."""
    answer = _answer(query, dns.rcode.NXDOMAIN)
    answer.flags |= dns.flags.AA
    return answer


def failed(query: Query) -> dns.message.Message:
    """The answer where who was asked in turn said nothing."""
    return _answer(query, dns.rcode.SERVFAIL)


def passed_on(query: Query, theirs: dns.message.Message) -> dns.message.Message:
    """What somebody else answered to the same question, as an answer to this one."""
    answer = _answer(query, theirs.rcode())
    for section in _SECTIONS:
        setattr(answer, section, list(getattr(theirs, section)))
    return answer


def written(query: Query, answer: dns.message.Message, is_udp: bool) -> bytes:
    """The answer's bytes, over UDP cut to what its asker takes and marked so: it asks again over TCP."""
    size = query.udp_bytes if is_udp else limits.NAMES_TCP_BYTES
    return answer.to_wire(max_size=size, prefer_truncation=True)


def _answer(query: Query, code: dns.rcode.Rcode) -> dns.message.Message:
    answer = dns.message.make_response(query.message, recursion_available=True, our_payload=limits.NAMES_UDP_BYTES)
    answer.set_rcode(code)
    return answer


def _header(packet: bytes, code: int) -> bytes:
    """An answer without anything in it: the query's id and opcode, and what is the matter."""
    return packet[:2] + bytes([0x80 | packet[2] & 0x79, code]) + bytes(8)
