"""DNS messages as values: whatever the bytes are, there is an answer to it, or none, and never an exception."""

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, strategies

from ahplat import limits
from ahplat.names import message
from ahplat.names.message import Query

TEN = [f"10.0.0.{n}" for n in range(1, 11)]


def asked(name: str, kind: str = "A", **how: object) -> Query:
    """The question as the responder reads it."""
    read = message.read(dns.message.make_query(name, kind, **how).to_wire())  # type: ignore[arg-type]
    assert isinstance(read, Query)
    return read


def told(query: Query, answer: dns.message.Message, is_udp: bool = True) -> dns.message.Message:
    """The answer as who asked reads it."""
    read = dns.message.from_wire(message.written(query, answer, is_udp))
    assert query.message.is_response(read)
    return read


def addresses(answer: dns.message.Message) -> list[str]:
    return [record.address for rrset in answer.answer for record in rrset]


def test_a_question_is_read_in_lower_case_and_answered_as_it_was_written() -> None:
    query = asked("WeB.Internal")
    assert query.labels == ("web", "internal")
    answer = told(query, message.known(query, ["10.0.0.1"]))
    assert answer.answer[0].to_text() == "WeB.Internal. 1 IN A 10.0.0.1"
    assert answer.flags & dns.flags.AA


def test_all_addresses_are_given_and_each_comes_first_now_and_then() -> None:
    query = asked("web.internal")
    firsts = set()
    for _ in range(500):
        answer = told(query, message.known(query, TEN))
        firsts.add(addresses(answer)[0])
        assert (sorted(addresses(answer)), answer.flags & dns.flags.TC) == (sorted(TEN), 0)
    assert firsts == set(TEN)


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "SRV", "SOA", "HTTPS", "TYPE65400"])
def test_a_name_that_exists_has_no_records_of_other_types(kind: str) -> None:
    query = asked("web.internal", kind)
    answer = told(query, message.known(query, ["10.0.0.1"]))
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


def test_a_name_that_does_not_exist_is_said_not_to() -> None:
    query = asked("nobody.internal", "AAAA")
    assert told(query, message.unknown(query)).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(("payload", "size"), [(None, 512), (100, 512), (900, 900), (1232, 1232), (65_000, 1232)])
def test_over_udp_an_answer_is_cut_to_what_its_asker_takes_and_says_so(payload: int | None, size: int) -> None:
    query = asked("x.internal", use_edns=payload is not None, payload=payload)
    assert query.udp_bytes == size
    many = message.known(query, [f"10.0.{n >> 8}.{n & 255}" for n in range(1000)])
    written = message.written(query, many, is_udp=True)
    assert len(written) <= size
    assert dns.message.from_wire(written).flags & dns.flags.TC
    whole = told(query, many, is_udp=False)
    assert (len(addresses(whole)), whole.flags & dns.flags.TC) == (1000, 0)


def test_an_answer_of_somebody_else_is_passed_on_under_the_askers_own_id() -> None:
    query = asked("example.org")
    theirs = dns.message.make_response(dns.message.make_query("example.org", "A", id=1))
    theirs.set_rcode(dns.rcode.NXDOMAIN)
    answer = told(query, message.passed_on(query, theirs))
    assert (answer.id, answer.rcode(), answer.flags & dns.flags.AA) == (query.message.id, dns.rcode.NXDOMAIN, 0)


def header_of(packet: bytes) -> tuple[int, int]:
    answer = message.read(packet)
    assert isinstance(answer, bytes)
    assert (len(answer), answer[:2], answer[2] & 0x80) == (12, packet[:2], 0x80)
    return answer[2] >> 3 & 15, answer[3] & 15


def test_what_is_no_plain_question_is_refused_by_its_code() -> None:
    plain = dns.message.make_query("web.internal", "A")
    chaos = dns.message.make_query("version.bind", "TXT", rdclass="CH")
    two = dns.message.make_query("web.internal", "A")
    two.question += dns.message.make_query("other.internal", "A").question
    assert header_of(chaos.to_wire()) == (0, dns.rcode.REFUSED)
    assert header_of(two.to_wire()) == (0, dns.rcode.FORMERR)
    for kind in ("ANY", "AXFR", "IXFR"):
        assert header_of(dns.message.make_query("web.internal", kind).to_wire()) == (0, dns.rcode.NOTIMP)
    for opcode in (1, 2, 4, 5, 15):
        packet = bytearray(plain.to_wire())
        packet[2] = opcode << 3
        assert header_of(bytes(packet)) == (opcode, dns.rcode.NOTIMP)


def test_what_is_no_question_at_all_is_dropped() -> None:
    plain = dns.message.make_query("web.internal", "A")
    whole = plain.to_wire()
    answer = dns.message.make_response(plain).to_wire()
    padded = dns.message.make_query("web.internal", "A", use_edns=0, pad=limits.NAMES_QUERY_BYTES + 1)
    endless = whole[:12] + b"\xc0\x0c" + whole[-4:]  # a name that points at itself
    too_long = padded.to_wire(max_size=65_535)
    for packet in (b"", whole[:11], whole[:-1], whole + b"x", answer, too_long, endless):
        assert message.read(packet) is None


@given(strategies.binary(max_size=600))
def test_no_bytes_are_an_exception(packet: bytes) -> None:
    assert_answered(packet)


PLAIN = dns.message.make_query("web.internal", "A", use_edns=0).to_wire()


@given(strategies.lists(strategies.tuples(strategies.integers(0, len(PLAIN) - 1), strategies.integers(0, 255))))
def test_no_question_with_bytes_turned_is_an_exception(changes: list[tuple[int, int]]) -> None:
    packet = bytearray(PLAIN)
    for at, value in changes:
        packet[at] = value
    assert_answered(bytes(packet))


@given(
    strategies.lists(strategies.binary(min_size=1, max_size=63), max_size=5),
    strategies.integers(0, 65_535),
    strategies.booleans(),
)
def test_every_name_and_type_is_answered(labels: list[bytes], kind: int, is_udp: bool) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels)
    if len(name) < 255:
        assert_answered(b"\0\7\1\0\0\1\0\0\0\0\0\0" + name + b"\0" + kind.to_bytes(2, "big") + b"\0\1", is_udp)


def assert_answered(packet: bytes, is_udp: bool = True) -> None:
    """It is dropped, or answered with its own id."""
    query = message.read(packet)
    answers = [query] if isinstance(query, bytes) else []
    if isinstance(query, Query):
        made = (message.known(query, TEN), message.unknown(query), message.failed(query))
        answers = [message.written(query, answer, is_udp) for answer in made]
    for answer in answers:
        assert (answer[:2], answer[2] & 0x80) == (packet[:2], 0x80)


def test_a_type_is_the_librarys_number() -> None:
    assert asked("web.internal", "AAAA").type == dns.rdatatype.AAAA
