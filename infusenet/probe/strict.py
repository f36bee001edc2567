"""Dataclasses out of JSON, checked field by field."""

import dataclasses
import sys
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def build(cls: type[T], data: Any, where: str) -> T:
    """Make a dataclass out of parsed JSON, refusing what does not fit.

    Args:
        cls: a dataclass whose fields are JSON types, tuples, Literals, dicts by name or such dataclasses.
        data: the parsed JSON object.
        where: its name, for messages.

    Returns:
        The instance.

    Raises:
        ValueError: a key without a default is missing, one is unknown, or a value has another type; the message
            names the place.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected an object, got {type(data).__name__}")
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = {field.name for field in fields}
    optional = {field.name for field in fields if field.default is not dataclasses.MISSING}
    missing, unknown = sorted(names - optional - data.keys()), sorted(data.keys() - names)
    if missing or unknown:
        raise ValueError(f"{where}: missing keys {missing}, unknown keys {unknown}")
    return cls(**{name: _value(hints[name], data[name], f"{where}.{name}") for name in names & data.keys()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` says, or ValueError."""
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        (inner,) = [option for option in options if option is not type(None)]
        return _value(inner, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(options[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _value(options[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is Literal and value in options:
        return value
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:  # NaN is not
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    expected = " or ".join(map(repr, options)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise ValueError(f"{where}: expected {expected}, got {value!r:.60}")
