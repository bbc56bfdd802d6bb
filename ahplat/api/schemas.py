"""JSON Schemas (2020-12) of what goes in and out, made of the structs that serve, and an example of each.

The invariant: a schema takes what its struct takes. Patterns are turned from Python's dialect into that of ECMA 262, which
JSON Schema has.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


def schemas_of(types: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """(a schema of each type, the components that they refer to)."""
    found, components = msgspec.json.schema_components(types, ref_template=REF)
    return [portable(schema) for schema in found], {name: portable(schema) for name, schema in components.items()}


def portable(node: Any) -> Any:
    """The schema with patterns that every validator understands.

    >>> portable({"pattern": r"\\A[a-z]+\\Z"})
    {'pattern': '^[a-z]+$'}
    """
    if isinstance(node, dict):
        return {
            key: _ecma(value) if key == "pattern" and isinstance(value, str) else portable(value)
            for key, value in node.items()
        }
    return [portable(one) for one in node] if isinstance(node, list | tuple) else node


def _ecma(pattern: str) -> str:
    return pattern.replace(r"\A", "^").replace(r"\Z", "$")


def example(schema: Schema, components: dict[str, Schema], whole: bool = True) -> Any:
    """A value that fits the schema: what is said to be an example of it, put together.

    Of an object all that is required, and what has examples; where it is not to be `whole`, not what is answered by a
    default as well.
    """
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components, whole)
    for keyword in ("examples", "enum"):
        if keyword in schema:
            return schema[keyword][0]
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], components, whole)
    match schema.get("type"):
        case "object":
            return _object(schema, components, whole)
        case "array":
            return [example(schema["items"], components, whole)] if schema.get("items") else []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            return "…"


def _object(schema: Schema, components: dict[str, Schema], whole: bool) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    return {
        name: example(inner, components, whole)
        for name, inner in properties.items()
        if name in required or "examples" in inner or (whole and "default" in inner)
    }
