"""Bodies: what comes in is the type, or Rejected with the pointer of what does not fit."""

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from ahplat import limits
from ahplat.api.body import parse
from ahplat.errors import Rejected


class Rule(Struct, frozen=True):
    host: str = ""
    port: int = 0


class Sample(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=8)] = "x"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    size: int = 0
    share: float = 0.0
    kind: Literal["a", "b"] = "a"
    rules: list[Rule] = []
    env: dict[Annotated[str, Meta(pattern="^[A-Za-z_/~]+$")], str] = {}
    nested: dict[str, dict[str, Rule]] = {}
    odd: int = field(default=0, name="o/d~d")
    pair: tuple[int, str] | None = None
    more: Rule | None = None
    free: Any = None


class Needs(Struct, frozen=True):
    name: str


class Closed(Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""


Env = dict[Annotated[str, Meta(pattern="^[A-Z]+$")], Annotated[str, Meta(max_length=3)]]


def fault(raw: bytes, type_: Any = Sample, *, strict: bool = False) -> tuple[str, str]:
    """(code, pointer of the first violation)."""
    with pytest.raises(Rejected) as rejected:
        parse(raw, type_, strict=strict)
    assert rejected.value.detail
    return rejected.value.code, rejected.value.violations[0].pointer


# what is taken


def test_an_empty_body_is_an_empty_object() -> None:
    assert parse(b"", Sample, strict=True) == Sample()


def test_fields_are_taken_and_unknown_ones_ignored() -> None:
    assert parse(b'{"name":"web","port":80,"zzz":[1]}', Sample, strict=False) == Sample(name="web", port=80)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"a:b"}',
        b'{"name" : "a\\":b"}',
        b'{"free":"\\\\u0000"}',
        b'{"free":{"a":1,"b":{"a":2}}}',
        b'{"free":[{"a":1},{"a":1}]}',
        b'{"free":9223372036854775807,"zzz":"\\ud83d\\ude00"}',
        b' {"size" :\n1}\r\n',
    ],
)
def test_what_only_looks_suspicious_is_taken(raw: bytes) -> None:
    assert parse(raw, Sample, strict=False)


def test_an_object_of_strings_is_taken() -> None:
    assert parse(b'{"A":"1","B":"2"}', Env, strict=True) == {"A": "1", "B": "2"}


# where a fault is


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b"[]", ""),
        (b"null", ""),
        (b'"x"', ""),
        (b'{"name":""}', "/name"),
        (b'{"name":1}', "/name"),
        (b'{"name":null}', "/name"),
        (b'{"port":0}', "/port"),
        (b'{"port":1.0}', "/port"),
        (b'{"port":true}', "/port"),
        (b'{"kind":"c"}', "/kind"),
        (b'{"kind":"c` - at `$.name[99999999999999999999]"}', "/kind"),
        (b'{"rules":[{},{"port":"x"}]}', "/rules/1/port"),
        (b'{"o/d~d":"x"}', "/o~1d~0d"),
        (b'{"pair":[1]}', "/pair"),
        (b'{"pair":[1,2]}', "/pair/1"),
        (b'{"env":{"A":"1","B":2,"C":3}}', "/env/B"),
        (b'{"env":{"A":"1","a/b~c":7}}', "/env/a~1b~0c"),
        (b'{"env":{"A":"1","no good":"1","-":"1"}}', "/env/no good"),
        (b'{"nested":{"a":{"x":{}},"b":{"y":{},"z":{"port":""}}}}', "/nested/b/z/port"),
    ],
)
def test_a_value_of_the_wrong_form_is_pointed_at(raw: bytes, pointer: str) -> None:
    assert fault(raw) == ("validation_failed", pointer)


def test_a_key_among_many_is_found() -> None:
    raw = json.dumps({f"K{'A' * number}": "1" * (1 + (number == 700) * 5) for number in range(1_000)}).encode()
    assert fault(raw, Env) == ("validation_failed", "/K" + "A" * (limits.POINTER_CHARS - 3) + "…")
    assert fault(b'{"A":"1","B":"1234","C":"12345"}', Env) == ("validation_failed", "/B")
    assert fault(b'{"A":"1","b":"1"}', Env) == ("validation_failed", "/b")


def test_a_field_that_is_missing_is_pointed_at() -> None:
    assert fault(b"", Needs) == ("validation_failed", "/name")


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b'{"name":"a\\u0000"}', "/name"),
        (b'{"zzz":{"a":["","\\u0000"]}}', "/zzz/a/1"),
        (b'{"env":{"\\u0000":"1"}}', "/env/\0"),
        (b'{"size":' + b"9" * 400 + b"}", "/size"),
        (b'{"size":9223372036854775808}', "/size"),
        (b'{"size":-9223372036854775809}', "/size"),
        (b'{"free":[1,1e999]}', "/free/1"),
        (b'{"zzz":-1e999}', "/zzz"),
        (b'{"share":1' + b"0" * 400 + b"}", "/share"),
    ],
)
def test_nul_and_numbers_that_do_not_fit_are_pointed_at(raw: bytes, pointer: str) -> None:
    assert fault(raw) == ("validation_failed", pointer)


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b'{"name":"a","name":"b"}', "/name"),
        (b'{"name":"a","name" :"b"}', "/name"),
        (b'{"name":"a","n\\u0061me":"b"}', "/name"),
        (b'{"zzz":1,"zzz":1}', "/zzz"),
        (b'{"free":[{"a":{},"a":{"b":1,"c":2}}]}', "/free/0/a"),
        (b'{"free":{"a":"\\"::","a":1}}', "/free/a"),
    ],
)
def test_a_key_that_is_there_twice_is_pointed_at(raw: bytes, pointer: str) -> None:
    assert fault(raw) == ("duplicate_key", pointer)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b" \n", "white space"),
        (b"{", "ends too early"),
        (b'{"a":1}x', "trailing"),
        (b'{"a":1,}', "byte 7"),
        (b'{"a":NaN}', "byte 5"),
        (b'{"a":Infinity}', "byte 5"),
        (b'{"a":"\n"}', "byte 6"),
        (b'{"a":"\x00"}', "byte 6"),
        (b'{"a":"\xff"}', "byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\\udc00"}', "surrogate"),
        (b'{"\\ud800":1}', "surrogate"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b"{1:2}", "keys must be strings"),
        (b"{'a':1}", "byte 1"),
        (b'{"a":1e999', "char 10"),
        (b'{"a":01}', "byte"),
    ],
)
def test_what_is_not_json_is_said_so_with_its_place(raw: bytes, word: str) -> None:
    with pytest.raises(Rejected) as rejected:
        parse(raw, Sample, strict=False)
    assert rejected.value.code == "invalid_json"
    assert word in rejected.value.detail


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a":[1e999,'])
def test_what_is_nested_too_deep_is_refused(opening: bytes) -> None:
    assert fault(opening * (1_048_576 // len(opening))) == ("invalid_json", "")
    assert parse(b'{"free":' + b"[" * 100 + b"]" * 100 + b"}", Sample, strict=False)


def test_a_number_of_a_million_digits_is_refused_in_time() -> None:
    assert fault(b'{"size":' + b"9" * 1_000_000 + b"}") == ("validation_failed", "/size")
    assert fault(b'{"size":0.' + b"9" * 1_000_000 + b"}")[0] == "validation_failed"


# strict


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b'{"zzz":1}', "/zzz"),
        (b'{"rules":[{},{"x":1}]}', "/rules/1/x"),
        (b'{"nested":{"a":{"b":{"host":"","c/d":1}}}}', "/nested/a/b/c~1d"),
        (b'{"more":{"zzz":1}}', "/more/zzz"),
    ],
)
def test_strict_points_at_fields_that_are_not_known(raw: bytes, pointer: str) -> None:
    assert fault(raw, strict=True) == ("unknown_field", pointer)
    assert parse(raw, Sample, strict=False)


def test_strict_names_all_of_them_up_to_the_bound() -> None:
    raw = json.dumps({f"z{number}": 1 for number in range(1_000)}).encode()
    with pytest.raises(Rejected) as rejected:
        parse(raw, Sample, strict=True)
    assert len(rejected.value.violations) == limits.VIOLATIONS


def test_strict_leaves_free_objects_alone() -> None:
    assert parse(b'{"free":{"anything":1},"env":{"A":"b"}}', Sample, strict=True)


def test_a_type_may_itself_be_strict() -> None:
    assert fault(b'{"zzz":1}', Closed) == ("unknown_field", "/zzz")
    assert fault(b'{"a` - at `$[9":1}', Closed)[0] == "unknown_field"


# whatever comes


def any_outcome(raw: bytes, strict: bool) -> None:
    for type_ in (Sample, Needs, Closed, Env):
        try:
            parse(raw, type_, strict=strict)
        except Rejected as rejected:
            assert rejected.code in {"invalid_json", "duplicate_key", "validation_failed", "unknown_field"}
            assert all(len(violation.pointer) <= limits.POINTER_CHARS for violation in rejected.violations)


@settings(deadline=None)
@given(st.binary(max_size=60), st.booleans())
@example(b'{"size":1e', False)
def test_no_bytes_raise_anything_but_rejected(raw: bytes, strict: bool) -> None:
    any_outcome(raw, strict)


names = st.sampled_from(["name", "port", "rules", "env", "nested", "free", "o/d~d", "pair", "more", "a.b[0]", "\0"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=9)
    | st.sampled_from(["c` - at `$[9]", "\0", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=3), inner, max_size=5),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(names, values, max_size=6) | values, st.booleans(), st.booleans())
def test_no_json_raises_anything_but_rejected(value: Any, strict: bool, ascii_only: bool) -> None:
    any_outcome(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"), strict)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcd"), values), max_size=6), st.sampled_from(["", " ", "\n"]))
def test_a_key_is_refused_if_and_only_if_it_is_there_twice(pairs: list[tuple[str, Any]], space: str) -> None:
    raw = "{" + ",".join(f'"{key}"{space}:{json.dumps(value)}' for key, value in pairs) + "}"
    try:
        parse(raw.encode(), Sample, strict=False)
        code = ""
    except Rejected as rejected:
        code = rejected.code
    if len({key for key, _ in pairs}) == len(pairs):
        assert code != "duplicate_key"
    else:
        assert code
