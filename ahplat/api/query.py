"""Query parameters: text in, a struct out, or a Rejected that points at the parameter and says what was expected.

A route's `query` is such a struct; its handler takes it with `call.asked`, and the OpenAPI document describes it.
Parameters that a route does not have are ignored, unless `Prefer: handling=strict`; of a command's each is given once.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct, inspect

from ahplat import limits
from ahplat.errors import Rejected, Violation

T = TypeVar("T", bound=Struct)

_DIGITS = 19
_FLAGS = {"true": True, "1": True, "false": False, "0": False}

Moment = Annotated[
    str,
    Meta(
        description="a time: unix seconds, or as RFC 3339 has it",
        pattern=r"\A([0-9]{1,12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,15}(Z|[+ -][0-9]{2}:[0-9]{2}))?\Z",
        examples=["1767225600", "2026-01-31T12:00:00Z"],
    ),
]


class Paged(Struct):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=limits.LIST_LIMIT, description="at most so many")] = limits.LIST_DEFAULT
    offset: Annotated[int, Meta(ge=0, le=2**53, description="leave out so many at first")] = 0
    cursor: Annotated[
        str, Meta(description="go on from where `Link: rel=next` of the answer before says; keeps its place")
    ] = ""


class Waits(Struct):
    """How long to wait; what for is added by each kind."""

    timeout: Annotated[
        int, Meta(ge=0, le=limits.WAIT_S, description="seconds to wait at most; then the answer is what is")
    ] = 30


class Dry(Struct):
    """Of every command: whether it is only asked what it would do."""

    dry_run: bool = False


class Fresh(Struct):
    """Of every read: the position of the log that it has to be from at least."""

    min_position: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class AsOf(Struct):
    """Of every read that has a past: the moment that is asked about."""

    as_of: Annotated[
        str,
        Meta(
            pattern=r"\A([0-9]{1,18}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,15}(Z|[+ -][0-9]{2}:[0-9]{2}))\Z",
            examples=["1234", "2026-01-31T12:00:00Z"],
        ),
    ]


def parse(query: Mapping[str, str], type_: type[T]) -> T:
    """The parameters as `type_`. Raises Rejected."""
    shapes = _shapes(type_)
    try:
        return msgspec.convert({name: _value(query[name], shapes[name]) for name in query if name in shapes}, type_)
    except msgspec.ValidationError as error:
        (name,) = (name for name in shapes if f"`$.{name}`" in str(error))
        raise invalid_parameter(name, _expected(shapes[name])) from error


def refuse_doubtful(names: list[str], may_be_dry: bool) -> None:
    """Raises Rejected where something would be done that was perhaps to be a dry run: twice is no answer, nor is `dryRun`."""
    for name in names:
        if names.count(name) > 1:
            raise invalid_parameter(name, "is there more than once")
        if name.lower().replace("-", "").replace("_", "") == "dryrun" and not (may_be_dry and name == "dry_run"):
            raise invalid_parameter(
                name, "is it `dry_run` that was meant?" if may_be_dry else "there is no dry run of this"
            )


def refuse_unknown(pairs: list[tuple[str, str]], types: Iterable[type[Struct]]) -> None:
    """Raises Rejected for a parameter that none of the types has."""
    known = {name for type_ in types for name in _shapes(type_)}
    for name, _ in pairs:
        if name not in known:
            message = "is not known here, and `handling=strict` was asked for"
            raise Rejected("unknown_field", f"{name[:64]}: {message}", (Violation(f"/query/{name[:64]}", message),))


@cache
def _shapes(type_: type[Struct]) -> dict[str, inspect.Type]:
    shape = inspect.type_info(type_)
    assert isinstance(shape, inspect.StructType)
    return {field.encode_name: field.type for field in shape.fields}


def _value(text: str, shape: inspect.Type) -> str | int | bool:
    """The text as what the parameter is, where it is written like one."""
    inner = shape.type if isinstance(shape, inspect.Metadata) else shape
    if isinstance(inner, inspect.IntType):
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS else text
    if isinstance(inner, inspect.BoolType):
        return _FLAGS.get(text, text)
    return text


def _expected(shape: inspect.Type, about: str = "other text") -> str:
    """
    >>> _expected(inspect.type_info(Annotated[int, Meta(ge=1, le=9)]))
    'expected an integer from 1 to 9'
    """
    match shape:
        case inspect.Metadata(type=inner):
            return _expected(inner, (shape.extra_json_schema or {}).get("description", about))
        case inspect.UnionType(types=types):
            return _expected(types[0])
        case inspect.IntType(ge=low, le=high):
            return f"expected an integer from {low} to {high}"
        case inspect.BoolType():
            return "expected true or false"
        case inspect.LiteralType(values=values):
            return f"expected one of {', '.join(str(value) for value in values)}"
        case _:
            return f"expected {about}"


def invalid_parameter(name: str, message: str) -> Rejected:
    """A parameter of the query that cannot be used."""
    return Rejected("validation_failed", f"{name}: {message}", (Violation(f"/query/{name}", message),))
