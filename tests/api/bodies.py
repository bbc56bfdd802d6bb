"""Values for every field of every body, worked out from the structs that the routes parse: at its limits, and beyond.

A value is JSON text, for half of what is wrong has no other form: numbers that do not fit, NUL, half a surrogate.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import Struct, inspect

from ahplat.api.route import Route
from ahplat.api.routes import ROUTES

WITH_BODY = [route for route in ROUTES if route.body is not None and route.path != "/mcp"]  # see tests/mcp
HUGE = ["9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1e999", "-1e999"]
NOT_JSON = ['"\\ud800"', '"\\udc00x"', '"a', "NaN", "Infinity", "01", "'a'", "[1", "tru", '"\x01"', "", "{]"]
EXAMPLES: dict[str, Any] = {
    "name": "skeleton",
    "email": "skeleton@example.org",
    "image": "web:1",
    "confirm": "x",
    "token": "x",
    "bootstrap_token": "x",
    "health_path": "/up",
    "command": ["true"],
    "source_url": "https://github.com/acme/web",
    "type": "postgres",
    "service_id": "0" * 32,
    "backup_id": "0" * 32,
    "domain": "www.shop.example",
}


class Field(Struct, frozen=True):
    """One field of a route's body."""

    route: Route
    name: str
    type: inspect.Type
    required: bool

    @property
    def where(self) -> str:
        return f"{self.route.method} {self.route.path} {self.name}"


@cache
def fields() -> list[Field]:
    """All fields of all bodies that are structs."""
    return [
        Field(route, field.encode_name, stripped(field.type), field.required)
        for route in WITH_BODY
        for shape in [inspect.type_info(route.body)]
        if isinstance(shape, inspect.StructType)
        for field in shape.fields
    ]


def stripped(shape: inspect.Type) -> inspect.Type:
    """The type without what stands for "not given"."""
    while isinstance(shape, inspect.Metadata):
        shape = shape.type
    if isinstance(shape, inspect.UnionType):
        kept = [
            one for one in shape.types if not isinstance(one, inspect.CustomType) and "Unset" not in type(one).__name__
        ]
        assert len(kept) == 1, shape
        return stripped(kept[0])
    return shape


def skeleton(route: Route) -> dict[str, str]:
    """The least body that the route takes: the required fields, as JSON text."""
    return {
        field.name: json.dumps(EXAMPLES[field.name])
        for field in fields()
        if field.route == route and (field.required or field.name == "source_url")
    }


def body(route: Route, **given: str) -> bytes:
    """A body of the route with these fields, as JSON text."""
    whole = skeleton(route) | given
    return ("{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in whole.items()) + "}").encode()


def wrong(shape: inspect.Type) -> Iterator[str]:
    """Values that are never of the type."""
    yield from ["null", "[[]]", '{"a":1}', *HUGE]
    if not isinstance(shape, inspect.BoolType):
        yield from ["true", "false"]
    match shape:
        case inspect.IntType():
            yield from ['"1"', "1.5", '""', "1e2", "-1", str(shape.ge - 1), str(shape.le + 1)]  # type: ignore[operator]
        case inspect.FloatType():
            yield from ['"1"', '""', "-1", "0", str(shape.ge - 0.001), str(shape.le + 0.001)]  # type: ignore[operator]
        case inspect.StrType():
            yield from ["1", "1.5", "[]", "{}", '"a\\u0000b"']
            if shape.min_length:
                yield from ['""', json.dumps("a" * (shape.min_length - 1))]
            if shape.max_length:
                yield from [
                    json.dumps("a" * (shape.max_length + 1)),
                    json.dumps("ä" * max(5_000, shape.max_length + 1)),
                ]
            if shape.pattern:
                yield from [json.dumps(text) for text in ("a\nb", "\x7f", "a\x1b[0m", "\n")]
        case inspect.LiteralType(values=values):
            yield from ['""', "1", "[]", json.dumps(f"{values[0]}x"), json.dumps(str(values[0]).upper())]
        case inspect.ListType(item_type=item):
            yield from ["1", '"a"', "{}", "[null]", *(f"[{text}]" for text in wrong(stripped(item)))]
            yield json.dumps(["read"] * 1_000)
        case inspect.DictType():
            yield from [
                "1",
                '"a"',
                '{"A":null}',
                '{"A":1}',
                '{"":"x"}',
                '{"A-B":"x"}',
                '{"1A":"x"}',
                '{"A":"a\\u0000"}',
            ]
            yield json.dumps({"A": "x" * 32_769})
            yield json.dumps({"A": "ä" * 20_000})
            yield json.dumps({f"A{n}": "" for n in range(101)})
            yield from [json.dumps({name: "x"}) for name in ("path", "LD_PRELOAD", "Ld_Library_Path", "A" * 129)]


def right(shape: inspect.Type) -> Iterator[Any]:
    """The values at the limits that are still of the type."""
    match shape:
        case inspect.IntType():
            yield from [shape.ge, shape.le]
        case inspect.FloatType():
            yield from [shape.ge, shape.le, 1]
        case inspect.StrType(pattern=None):
            yield from ["", "a" * 1_000]
        case inspect.LiteralType(values=values):
            yield from values
        case inspect.DictType():
            yield from [{}, {"A" * 128: ""}, {"_": "x" * 32_768}, {f"A{n}": "" for n in range(100)}]


TEXTS = {  # of strings that have a form of their own
    "name": ["ab", "a" * 128, "ÄÖ a😀" + "z" * 110],
    "email": ["a@b", f"{'a' * 250}@b.com", "a+b@ü.example"],
    "image": ["", "pending", "a" * 255, "docker.io/library/nginx:1@sha256:" + "0" * 64],
    "health_path": ["", "/", "/" + "a" * 255],
    "deployment_id": [],
    "source_url": ["https://github.com/a/b", "https://git.sr.ht/~a/b.git"],
    "git_url": ["", "https://github.com/acme/web"],
    "source_ref": ["", "main", "a" * 255],
    "branch": ["", "v1.2.3"],
    "volumes": [{}, {"data": "/var/lib/app"}, {f"v{n}": f"/v{n}" for n in range(5)}, {"v" * 63: "/" + "a" * 255}],
    "service_id": ["0" * 32],
    "key": ["A", "_" * 128],
    "domain": ["a.example", "a.example.", "Ä.Example", f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 53}"],
}
