"""Request bodies: bytes in, a struct out, or a Rejected that points at the field (RFC 6901).

JSON is taken as RFC 8259 and I-JSON (RFC 7493) have it: UTF-8, no key twice, no number that does not fit, no NUL in
a string, whatever the Content-Type. The invariant: `parse` returns a value of the type or raises Rejected, whatever the
bytes.

A body is decoded once, generically, then converted. What msgspec does not look for shows in the counts: a body in
which as many keys were found as there are `"…" :` in its text has no key twice. Only where the counts differ, or NUL
may be in it, is it read again, slowly, to find the place.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from ahplat import limits
from ahplat.api.fields import WORDS
from ahplat.errors import Rejected, Violation

T = TypeVar("T")

_decode = msgspec.json.Decoder().decode
_KEY = re.compile(rb'"[ \t\r\n]*:')
_PLACE = re.compile(r"(?P<text>.*) - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d{1,9})\]|(?P<some>\[\.\.\.\])")
_FIELD = re.compile(r"(?P<fault>unknown|required) field `(?P<name>.*)`$", re.DOTALL)
_INT64 = range(-(2**63), 2**63)


def parse(raw: bytes, type_: type[T], *, strict: bool) -> T:
    """The body as `type_`; nothing at all counts as `{}`.

    Raises Rejected: invalid_json, duplicate_key, validation_failed, and unknown_field where `strict` (or the type
    itself) forbids fields that the type does not have.
    """
    try:
        tree = _decode(raw) if raw else {}
        if b"\\u0000" in raw or not _plain(raw, tree):
            _refuse_faults(raw)
        if strict:
            _refuse_unknown(tree, type_)
    except (ValueError, RecursionError) as error:
        raise _unreadable(raw, error) from error
    try:
        return msgspec.convert(tree, type_)
    except msgspec.ValidationError as error:
        raise _misfit(tree, type_, str(error)) from error
    except RecursionError as error:
        raise _unreadable(raw, error) from error


def _plain(raw: bytes, tree: Any) -> bool:
    """Whether no key is there twice and all integers are of 64 bits. False may be a false alarm, True is not."""
    keys = 0
    nodes = [tree]
    for node in nodes:
        children: Iterable[Any] = node if type(node) is list else (node,)
        if type(node) is dict:
            keys += len(node)
            children = node.values()
        for child in children:
            kind = type(child)
            if kind is dict or kind is list:
                nodes.append(child)
            elif kind is int and child not in _INT64:
                return False
    return keys == raw.count(b":") or keys == len(_KEY.findall(raw))


# what msgspec does not see


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text, its keys as often as they are there."""


class _Number(str):
    """A number as it stands in the text."""


def _refuse_faults(raw: bytes) -> None:
    """Raises Rejected for the first key that is there twice, number that does not fit, or NUL. ValueError: no JSON."""
    tree = json.loads(
        raw.decode(), object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_not_json
    )
    for code, pointer, message in _faults(tree, ""):
        raise _at(code, pointer, message)


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _faults(node: Any, pointer: str) -> Iterator[tuple[str, str, str]]:
    if type(node) is _Pairs:
        seen: set[str] = set()
        for key, value in node:
            below = _below(pointer, key)
            if key in seen:
                yield "duplicate_key", below, "the key occurs twice in one object"
            if "\0" in key:
                yield "validation_failed", below, "expected a key without NUL"
            seen.add(key)
            yield from _faults(value, below)
    elif type(node) is list:
        for index, value in enumerate(node):
            yield from _faults(value, f"{pointer}/{index}")
    elif type(node) is _Number:
        if not _fits(node):
            yield "validation_failed", pointer, "expected a number that fits 64 bits"
    elif type(node) is str and "\0" in node:
        yield "validation_failed", pointer, "expected a string without NUL"


def _fits(number: str) -> bool:
    digits = number.lstrip("-")
    if digits.isdigit():
        return len(digits) < 20 and int(number) in _INT64
    return abs(float(number)) != float("inf")


def _unreadable(raw: bytes, error: Exception) -> Rejected:
    """What to say of a body that does not decode."""
    if isinstance(error, RecursionError):
        return _at("invalid_json", "", "nested too deep")
    if isinstance(error, msgspec.ValidationError):  # a number too large for any type
        try:
            _refuse_faults(raw)
        except Rejected as fault:
            return fault
        except (ValueError, RecursionError) as worse:
            return _unreadable(raw, worse)
        return _at("validation_failed", "", str(error))
    try:
        raw.decode()
    except UnicodeDecodeError as broken:
        return _at("invalid_json", "", f"not UTF-8 (byte {broken.start}: {broken.reason})")
    if raw.isspace():
        return _at("invalid_json", "", "only white space; send `{}` or nothing")
    message = str(error).removeprefix("JSON is malformed: ")
    if "truncated" in message:
        message = (
            "it ends too early, or holds half of a surrogate pair" if rb"\u" in raw.lower() else "it ends too early"
        )
    return _at("invalid_json", "", message)


# where msgspec's errors are


def _misfit(tree: Any, type_: type[Any], message: str) -> Rejected:
    """msgspec's message as a Rejected: `$.a[0].b` becomes /a/0/b, and `[...]` the key that it leaves out."""
    found = _PLACE.fullmatch(message)
    text = found["text"] if found else message
    pointer = ""
    if found:
        node = tree
        for step in _STEP.finditer(found["path"]):
            key: str | int | None = step["name"] or (int(step["index"]) if step["index"] else None)
            if step["some"]:
                key = _guilty_key(tree, node, type_, message)
            pointer, node = _below(pointer, key), _child(node, key)
        if found["key"]:
            pointer = _below(pointer, _guilty_key(tree, node, type_, message))
    if field := _FIELD.search(text):
        pointer = _below(pointer, field["name"])
        if field["fault"] == "unknown":
            return _at("unknown_field", pointer, "there is no such field")
        return _at("validation_failed", pointer, "expected, but it is missing")
    for pattern, words in WORDS.items():
        text = text.replace(f"`str` matching regex {pattern!r}", words)
    return _at("validation_failed", pointer, text[:1].lower() + text[1:])


def _child(node: Any, key: str | int | None) -> Any:
    try:
        return node[key]
    except (KeyError, IndexError, TypeError):
        return None


def _guilty_key(tree: Any, node: Any, type_: type[Any], message: str) -> str | None:
    """Which key of the object `node`, somewhere in `tree`, brings the message about: halves until one is left.

    Leaves only that one in the object; a converter stops at the first fault, so it is the first that does not fit.
    """
    if type(node) is not dict or not node:
        return None
    items = list(node.items())
    while len(items) > 1:
        half = items[: len(items) // 2]
        node.clear()
        node.update(half)
        try:
            msgspec.convert(tree, type_)
        except msgspec.ValidationError as error:
            items = half if str(error) == message else items[len(half) :]
        else:
            items = items[len(half) :]
    node.clear()
    node.update(items)
    return str(items[0][0])


def _below(pointer: str, key: str | int | None) -> str:
    """
    >>> _below("/env", "a/b~c")
    '/env/a~1b~0c'
    """
    return pointer if key is None else f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _at(code: str, pointer: str, message: str) -> Rejected:
    if len(pointer) > limits.POINTER_CHARS:
        pointer = pointer[: limits.POINTER_CHARS - 1] + "…"
    message = message[: limits.DETAIL_CHARS]
    return Rejected(code, f"{pointer or 'the body'}: {message}", (Violation(pointer, message),))


# fields that the type does not have


def _refuse_unknown(tree: Any, type_: type[Any]) -> None:
    violations: list[Violation] = []
    for pointer in _unknown(tree, inspect.type_info(type_), ""):
        violations += _at("unknown_field", pointer, "there is no such field").violations
        if len(violations) == limits.VIOLATIONS:
            break
    if violations:
        names = ", ".join(violation.pointer for violation in violations[:10])
        raise Rejected(
            "unknown_field", f"{names}: not known here, and `handling=strict` was asked for", tuple(violations)
        )


def _unknown(node: Any, shape: inspect.Type, pointer: str) -> Iterator[str]:
    """Pointers to the fields of objects in `node` that structs in `shape` do not have."""
    while isinstance(shape, inspect.Metadata):
        shape = shape.type
    if isinstance(shape, inspect.UnionType):
        for one in shape.types:
            yield from _unknown(node, one, pointer)
    elif isinstance(shape, inspect.StructType) and type(node) is dict:
        fields = {field.encode_name: field.type for field in shape.fields}
        for key, value in node.items():
            below = _below(pointer, key)
            if key in fields:
                yield from _unknown(value, fields[key], below)
            elif key != shape.tag_field:
                yield below
    elif isinstance(shape, inspect.DictType) and type(node) is dict:
        for key, value in node.items():
            yield from _unknown(value, shape.value_type, _below(pointer, key))
    elif isinstance(shape, inspect.CollectionType) and type(node) is list:
        for index, value in enumerate(node):
            yield from _unknown(value, shape.item_type, f"{pointer}/{index}")
