"""Events of every type, made from the types themselves: `sample` is one of each, `strategy` is any."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from msgspec import inspect

from events.event import Event

TEXT = strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = strategies.integers(-(2**63), 2**63 - 1)
SIMPLE: dict[type[inspect.Type], tuple[Any, SearchStrategy[Any]]] = {
    inspect.StrType: ("x", TEXT),
    inspect.IntType: (1, NUMBERS),
    inspect.BytesType: (b"x", strategies.binary(max_size=6)),
    inspect.BoolType: (True, strategies.booleans()),
    inspect.NoneType: (None, strategies.none()),
}


def sample(kind: type[Event], **fields: Any) -> Any:
    """One event of a type: "x", 1, b"x", True; a list or a tuple holds one of its items, a dict one of its pairs."""
    made = {field.name: _sample(field.type) for field in inspect.type_info(kind).fields}  # type: ignore[attr-defined]
    return kind(**(made | fields))


def _sample(kind: inspect.Type) -> Any:
    match kind:
        case inspect.UnionType(types=types):
            return _sample(types[0])
        case inspect.ListType(item_type=item):
            return [_sample(item)]
        case inspect.VarTupleType(item_type=item):
            return (_sample(item),)
        case inspect.DictType(key_type=key, value_type=value):
            return {_sample(key): _sample(value)}
        case inspect.StructType(cls=struct, fields=fields):
            return struct(**{field.name: _sample(field.type) for field in fields})
        case _:
            return SIMPLE[type(kind)][0]


def strategy(kind: type[Event]) -> SearchStrategy[Any]:
    """Any event of a type."""
    return _strategy(inspect.type_info(kind))


def _strategy(kind: inspect.Type) -> SearchStrategy[Any]:
    match kind:
        case inspect.UnionType(types=types):
            return strategies.one_of([_strategy(one) for one in types])
        case inspect.ListType(item_type=item):
            return strategies.lists(_strategy(item), max_size=3)
        case inspect.VarTupleType(item_type=item):
            return strategies.lists(_strategy(item), max_size=3).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return strategies.dictionaries(_strategy(key), _strategy(value), max_size=3)
        case inspect.StructType(cls=struct, fields=fields):
            made: Callable[..., Any] = struct
            return strategies.builds(made, **{field.name: _strategy(field.type) for field in fields})
        case _:
            return SIMPLE[type(kind)][1]
