"""The record that proves a name: what it is, and what a real answer over the wire has to be to count."""

from collections.abc import AsyncIterator
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from ahplat import limits
from ahplat.names.proofs import Proof, look, proof_of, texts_of
from ahplat.names.upstream import Upstreams
from ahplat.sealing import Keyring
from tests.folders import folder as folder
from tests.names.nameserver import HOST, Nameserver, a_nameserver

PROOF = Proof("_ahplat.www.shop.example", "TXT", "ahplat-verify=abc")


@pytest.fixture
async def server() -> AsyncIterator[Nameserver]:
    async with a_nameserver() as made:
        yield made


async def found(server: Nameserver) -> str:
    return await look(Upstreams(((HOST, server.port),)), "acme", PROOF)


def test_the_value_is_the_tenants_and_the_names_own_and_stays(folder: Path) -> None:
    keyring = Keyring(folder / "keys.db", bytes(32))
    mine = proof_of(keyring, "acme", "www.shop.example")
    assert mine.name == "_ahplat.www.shop.example"
    others = [proof_of(keyring, "other", "www.shop.example"), proof_of(keyring, "acme", "shop.example")]
    assert len({mine.value, *(other.value for other in others)}) == 3
    keyring.close()
    again = Keyring(folder / "keys.db", bytes(32))
    assert proof_of(again, "acme", "www.shop.example") == mine
    again.close()


async def test_the_record_is_found_among_others_and_in_pieces(server: Nameserver) -> None:
    assert await found(server) == "record_missing"
    server.texts[PROOF.name] = ["v=spf1 -all", "AHPLAT-VERIFY=abc"]
    assert await found(server) == "record_differs"
    server.texts[PROOF.name].append("ahplat-|verify=abc")
    assert await found(server) == "found"
    assert set(server.asked) == {("udp", PROOF.name)}


async def test_the_record_may_stand_behind_an_alias(server: Nameserver) -> None:
    server.aliases[PROOF.name] = "proofs.elsewhere.example"
    assert await found(server) == "record_missing"
    server.texts["proofs.elsewhere.example"] = [PROOF.value]
    assert await found(server) == "found"


async def test_an_answer_that_is_cut_is_asked_for_over_tcp(server: Nameserver) -> None:
    server.texts[PROOF.name] = [*(f"{n}" * 99 for n in range(10, 30)), PROOF.value]
    assert await found(server) == "found"
    assert server.asked == [("udp", PROOF.name), ("tcp", PROOF.name)]


async def test_a_resolver_that_fails_or_is_silent_has_said_nothing(
    server: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.texts[PROOF.name] = [PROOF.value]
    server.fails = True
    assert await found(server) == "no_answer"
    server.fails, server.is_silent = False, True
    monkeypatch.setattr(limits, "NAMES_UPSTREAM_S", 0.05)
    assert await found(server) == "no_answer"


async def test_what_does_not_answer_this_very_question_does_not_count(server: Nameserver) -> None:
    server.lies = True
    server.texts[PROOF.name] = [PROOF.value]
    assert await found(server) == "found"


def test_a_record_of_another_name_beside_the_answer_does_not_count() -> None:
    answer = dns.message.make_response(dns.message.make_query(PROOF.name, "TXT"))
    answer.answer.append(dns.rrset.from_text("_ahplat.evil.example.", 60, "IN", "TXT", f'"{PROOF.value}"'))
    assert texts_of(dns.message.from_wire(answer.to_wire())) == []
