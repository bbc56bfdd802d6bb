"""Host names in the one form in which they are kept: no two that the world takes for the same differ here."""

from typing import Any

import pytest
from hypothesis import given, strategies

from ahplat.hosts import canonical_host, is_canonical, is_under
from ahplat.labels import RESERVED, label_of


@pytest.mark.parametrize(
    "text",
    [
        *("www.bücher.example", "WWW.BÜCHER.EXAMPLE", "www.bücher.example.", "ＷＷＷ．ｂücher．ｅxample"),
        *(
            "www。bücher。example",
            "www.bu\u0308cher.example",
            "www.b\u00fc\u00adcher.example",
            "www.xn--bcher-kva.example",
        ),
        *("WWW.XN--BCHER-KVA.EXAMPLE", "www.XN--bcher-kva.example."),
    ],
)
def test_every_way_to_write_a_name_gives_the_same(text: str) -> None:
    assert canonical_host(text) == "www.xn--bcher-kva.example"


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a", "a..example", ".a.example", "a.example..", "-a.example", "a-.example", "a_b.example"),
        *("a b.example", "a.example/", "a.example:80", "http://a.example", "*.a.example", "a@b.example", "a.example\0"),
        *("127.0.0.1", "1.2", "１２７。0.0.1", "0x7f.1", "a.0x7f", "[::1]", "::1", "a.1"),
        *("localhost", "a.localhost", "a.LOCALHOST.", "printer.local", "db.internal", "1.168.192.in-addr.arpa"),
        *("xn--.example", "xn--a.example", "xn--zzzzzzzz.example", "a.xn--example", f"{'a' * 64}.example"),
        *(".".join(["a" * 60] * 5), "ä" * 1_000, "a\u200d.example", "a.example\u202e", "a`) || Host(`b.example"),
    ],
)
def test_what_is_no_name_of_public_dns_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_host(text)


@given(strategies.text(max_size=40) | strategies.from_regex(r"[A-Za-zÄ-üа-я0-9.。-]{1,30}", fullmatch=True))
def test_what_is_kept_is_kept_as_it_is_and_is_ascii_in_lower_case(text: str) -> None:
    try:
        host = canonical_host(text)
    except ValueError:
        return
    assert is_canonical(host)
    assert canonical_host(host) == canonical_host(host.upper()) == canonical_host(f"{host}.") == host


NAMES = strategies.from_regex(r"[a-z0-9-]{1,12}(\.[a-z0-9-]{1,12}){0,3}", fullmatch=True)


@given(NAMES, strategies.lists(strategies.sampled_from([str, str.upper, "wide"]), min_size=60, max_size=60))
def test_names_that_differ_in_case_width_or_dots_only_are_one(name: str, changes: list[Any]) -> None:
    changed = "".join(wide(one) if how == "wide" else how(one) for one, how in zip(name, changes, strict=False))
    assert kept(changed) == kept(name)


def wide(character: str) -> str:
    """The full-width form of a letter, digit or sign; another kind of dot for a dot."""
    return "。" if character == "." else chr(ord(character) + 0xFEE0)


def kept(text: str) -> str:
    try:
        return canonical_host(f"{text}.example")
    except ValueError:
        return ""


@given(strategies.text(max_size=30))
def test_no_name_of_a_service_is_a_reserved_word_or_has_a_dot_in_it(name: str) -> None:
    label = label_of(name)
    assert not label or is_canonical(f"{label}.localhost")
    assert "." not in label


def test_the_platforms_own_name_is_reserved() -> None:
    assert {"api", "www", "traefik"} <= RESERVED


def test_a_name_is_under_a_domain_by_whole_labels() -> None:
    assert is_under("apps.example", "apps.example") and is_under("x.apps.example", "apps.example")
    assert not is_under("xapps.example", "apps.example") and not is_under("example", "apps.example")
