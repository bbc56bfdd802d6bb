"""Header fields, each by its specification."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahplat.api import headers
from ahplat.api.headers import NEVER, Prefer
from ahplat.errors import Rejected

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("value", ["a", "0189-A_b.c", "x" * 64])
def test_a_sane_request_id_is_kept(value: str) -> None:
    assert headers.request_id(value, lambda: "fresh") == value


@pytest.mark.parametrize("value", [None, "", "x" * 65, "a b", "a\n", "é", "a/b", "<script>"])
def test_any_other_request_id_is_replaced(value: str | None) -> None:
    assert headers.request_id(value, lambda: "fresh") == "fresh"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-ff", f"00-{TRACE}-{PARENT}-03"),
        (f"01-{TRACE}-{PARENT}-01-what-comes-later", f"00-{TRACE}-{PARENT}-01"),
    ],
)
def test_a_valid_trace_is_kept(value: str, kept: str) -> None:
    assert headers.traceparent(value) == kept


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01more",
        f"00-{TRACE}-{PARENT}-1",
        f" 00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_trace_is_ignored_as_a_whole(value: str | None) -> None:
    assert headers.traceparent(value) == ""


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (None, None),
        ("abc", "abc"),
        ('"abc"', "abc"),
        ('"a b"', "a b"),
        ('"a\\"b\\\\"', 'a"b\\'),
        ('"abc"; p=1', "abc"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("a;b", "a;b"),
        ("x" * 128, "x" * 128),
        ('"' + "x" * 128 + '"', "x" * 128),
    ],
)
def test_an_idempotency_key_is_the_same_quoted_or_bare(value: str | None, key: str | None) -> None:
    assert headers.idempotency_key(value) == key


@pytest.mark.parametrize("value", ["", '""', '"', '"a', "a b", "é", '"é"', "x" * 129, '"a\\x"', "a\x7f", '"a"b', "a\0"])
def test_any_other_idempotency_key_is_rejected(value: str) -> None:
    with pytest.raises(Rejected, match="validation_failed: Idempotency-Key: expected 1–128"):
        headers.idempotency_key(value)


def test_an_etag_is_strong_and_of_its_epoch() -> None:
    assert headers.etag(2, 17) == '"2.17"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("*", "exists"),
        (" * ", "exists"),
        ('"2.17"', 17),
        ('"2.17" , "2.18"', 18),
        ('"1.99","2.17"', 17),
        ('W/"2.17"', NEVER),
        ('"1.17"', NEVER),
        ('"2.x"', NEVER),
        ('"2.-1"', NEVER),
        ('"2.17', NEVER),
        ("2.17", NEVER),
        ("", NEVER),
        ('"2.17" "2.18"', NEVER),
        ('"2.' + "9" * 5000 + '"', NEVER),
    ],
)
def test_if_match_is_the_version_that_the_client_knows(value: str | None, expected: object) -> None:
    assert headers.if_match(value, 2) == expected


def test_what_never_matches_matches_no_stream() -> None:
    assert NEVER < 0


@pytest.mark.parametrize(
    ("value", "fresh"),
    [
        (None, False),
        ('"2.17"', True),
        ('W/"2.17"', True),
        ("*", True),
        ('"2.16", W/"2.17"', True),
        ('"2.16"', False),
        ('"2.16","2.18"', False),
        ("2.17", False),
        ("", False),
    ],
)
def test_if_none_match_compares_weakly(value: str | None, fresh: bool) -> None:
    assert headers.if_none_match(value, '"2.17"') is fresh


@pytest.mark.parametrize(
    ("values", "wish"),
    [
        ([], Prefer()),
        (["handling=strict"], Prefer(strict=True)),
        (["Handling=Strict"], Prefer(strict=True)),
        (['handling="strict"'], Prefer(strict=True)),
        (["handling=lenient"], Prefer()),
        (["handling=lenient, handling=strict"], Prefer()),
        (["wait=10"], Prefer(wait_s=10)),
        (["wait = 10 ; foo=bar"], Prefer(wait_s=10)),
        (["respond-async, wait=5", "handling=strict"], Prefer(strict=True, wait_s=5)),
        (["wait=100000"], Prefer(wait_s=60)),
        (["wait=" + "9" * 5000], Prefer()),
        (["wait=-1"], Prefer()),
        (["wait=1.5"], Prefer()),
        (["wait"], Prefer()),
        (["wait=٣"], Prefer()),
        (['foo="a, wait=3", wait=4'], Prefer(wait_s=4)),
        ([",,;=,"], Prefer()),
    ],
)
def test_preferences_are_read_and_what_is_unknown_ignored(values: list[str], wish: Prefer) -> None:
    assert headers.prefer(values) == wish


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer abc.def", "abc.def"),
        ("bearer   abc==", "abc=="),
        ("BEARER a-._~+/b", "a-._~+/b"),
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("Bearer é", None),
        ("Bearer a\n", None),
    ],
)
def test_a_bearer_token_is_of_its_scheme_and_form(value: str | None, token: str | None) -> None:
    assert headers.bearer(value) == token


@settings(deadline=None)
@given(st.text(st.characters(), max_size=80))
def test_no_value_breaks_any_of_them(value: str) -> None:
    headers.traceparent(value), headers.if_match(value, 1), headers.if_none_match(value, '"1.1"')
    headers.prefer([value]), headers.bearer(value), headers.request_id(value, str)
    try:
        key = headers.idempotency_key(value)
    except Rejected:
        return
    assert key and key.isprintable() and key.isascii()
