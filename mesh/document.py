"""Read a person's YAML or JSON strictly: every value is asked for by name and kind, and errors say where they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import yaml

from mesh.errors import NO_SUCH_KEY, BadInputError, Told

T = TypeVar("T")
ABSENT: Any = object()
# PyYAML lets its constructors' slips through: ``!!int ""`` is an IndexError, ``!!bool x`` a KeyError, ``!!timestamp x``
# an AttributeError.
_CANNOT_READ = (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError, LookupError, AttributeError)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe subset, with errors where YAML would be silently lenient or ambiguous."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; a repeated key is an error instead of the last one winning."""
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    raise _refused(f"key {key_node.value!r} twice", key_node, "each key once")
                seen.add(key_node.value)
        result: dict[Any, Any] = super().construct_mapping(node, deep)
        return result

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return the number; 010, 1_000 and 1:30 mean other things in YAML 1.1 than in 1.2 and are refused."""
        if re.search(r"[:_]|^[-+]?0[0-9]", node.value):
            found = f"{node.value!r}, which YAML 1.1 and 1.2 read differently"
            raise _refused(found, node, "a plain decimal number, or text in quotes")
        is_float = node.tag.endswith(":float")
        result: int | float = self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)
        return result


# Only true and false are booleans, as in YAML 1.2: ``routing: off`` and a node called ``no`` are what they look like.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


def _refused(found: str, node: yaml.Node, allowed: str) -> BadInputError:
    return BadInputError("", Told(f"line {node.start_mark.line + 1}: {found}"), allowed)


def load_document(text: str) -> object:
    """Return the value of a YAML or JSON text.

    Raises
    ------
    BadInputError
        for text that is neither, a repeated key, a number that YAML versions read differently, or a JSON NaN or
        Infinity.

    Examples
    --------
    >>> load_document("{nodes: [{name: n1}]}")
    {'nodes': [{'name': 'n1'}]}
    """
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except BadInputError:
        raise
    except (ValueError, RecursionError) as error:
        if _is_json(text):
            raise BadInputError("", Told(f"JSON that cannot be read: {error}"), "valid JSON") from error
    try:
        return yaml.load(text, Loader=_Loader)
    except BadInputError:
        raise
    except _CANNOT_READ as error:
        raise BadInputError("", Told("text that cannot be read: " + _reason(error)), "YAML or JSON") from error


def _is_json(text: str) -> bool:
    # A flow mapping may be YAML all the same: {name: x}. Quoted first key, then a colon: JSON.
    return re.match(r'\s*\{\s*("|\})', text) is not None


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, (yaml.YAMLError, ValueError)):
        return str(error)
    return "a value that does not fit its tag, or nesting without end"


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise BadInputError("", Told(f"key {key!r} twice"), "each key once")
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise BadInputError("", Told(name), "finite numbers")


class Fields:
    """One mapping of the document; take each key once, then nothing may be left over."""

    def __init__(self, value: object, path: str, *, allowed: Sequence[str]) -> None:
        if not isinstance(value, dict):
            raise BadInputError(path, value, "a mapping with the keys " + ", ".join(allowed))
        for key in value:
            if key not in allowed:
                where = f"{path}.{key}" if path and isinstance(key, str) else (path or str(key))
                raise BadInputError(where, key, "the keys " + ", ".join(allowed))
        self.value, self.path = value, path

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def at(self, key: str) -> str:
        """Return the path of ``key``, for a message."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, read: Callable[[object, str], T], default: T = ABSENT) -> T:
        """Return ``read(value, path)``, or ``default`` where the key is absent; raise where there is no default."""
        if key not in self.value:
            if default is ABSENT:
                raise BadInputError(self.at(key), NO_SUCH_KEY, "it is required")
            return default
        return read(self.value[key], self.at(key))

    def items(self, key: str, read: Callable[[object, str], T], default: Sequence[T] = ABSENT) -> tuple[T, ...]:
        """Return ``read(item, path)`` for each item of the list at ``key``."""
        return tuple(self.take(key, lambda value, path: read_list(value, path, read), default))


def read_list(value: object, path: str, read: Callable[[object, str], T]) -> list[T]:
    """Return ``read(item, path[index])`` for each item of a list; anything else is refused."""
    if not isinstance(value, list):
        raise BadInputError(path, value, "a list")
    return [read(item, f"{path}[{index}]") for index, item in enumerate(value)]


def matching(pattern: str, allowed: str) -> Callable[[object, str], str]:
    """Return a reader of strings that match ``pattern`` whole."""
    compiled = re.compile(pattern, re.ASCII)

    def read(value: object, path: str) -> str:
        if not isinstance(value, str):
            raise BadInputError(path, value, f"a string: {allowed}" + (" (quote it)" if _is_scalar(value) else ""))
        if compiled.fullmatch(value) is None:
            raise BadInputError(path, value, allowed)
        return value

    return read


def _is_scalar(value: object) -> bool:
    return value is not None and not isinstance(value, (dict, list))


def integer(low: int, high: int) -> Callable[[object, str], int]:
    """Return a reader of integers from ``low`` to ``high``; a boolean is none."""

    def read(value: object, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadInputError(path, value, f"an integer from {low} to {high}")
        return value

    return read


def number(low: float, high: float, *, allowed: str, above: bool = False) -> Callable[[object, str], float]:
    """Return a reader of finite numbers from ``low`` (excluded if ``above``) to ``high``."""

    def read(value: object, path: str) -> float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or not low <= value <= high or (above and value == low) or math.isnan(float(value)):  # type: ignore[operator,arg-type]
            raise BadInputError(path, value, allowed)
        return float(value)  # type: ignore[arg-type]

    return read


def one_of(allowed: Sequence[T]) -> Callable[[object, str], T]:
    """Return a reader of exactly these values."""

    def read(value: object, path: str) -> T:
        for choice in allowed:
            if type(value) is type(choice) and value == choice:
                return choice
        raise BadInputError(path, value, " | ".join(str(choice) for choice in allowed))

    return read
