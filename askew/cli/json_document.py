"""Strict JSON for the commands that work on files: a NaN is found where it stands, and none is ever written."""

from __future__ import annotations

import json
from collections.abc import Callable

from mesh.document import matching
from mesh.errors import BadInputError, one_line

name = matching(r"[^\x00-\x1f\x7f]{1,253}", "1 to 253 characters, none of them a control character")


def load_json(text: str) -> object:
    """Return the value of a JSON text.

    NaN and Infinity are let through as numbers, so that whoever reads the field can refuse them by its path.

    Raises
    ------
    BadInputError
        without a path, for text that is not JSON or holds a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except BadInputError:
        raise
    except json.JSONDecodeError as error:
        raise BadInputError("", f"{error.msg} at line {error.lineno}, column {error.colno}", "valid JSON") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise BadInputError("", one_line(str(error)) or type(error).__name__, "valid JSON") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise BadInputError("", f"key {key!r} twice", "each key once")
        result[key] = value
    return result


def dump_json(value: object) -> str:
    """Return ``value`` as JSON text. Raises ValueError for NaN and Infinity: they must not leave the house."""
    return json.dumps(value, allow_nan=False, indent=2)


def count(largest: int) -> Callable[[object, str], int]:
    """Return a reader of counters: whole numbers from 0 to ``largest``, also written as 3.0 or 1e6."""

    def read(value: object, path: str) -> int:
        allowed = f"an integer from 0 to {largest}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadInputError(path, value, allowed)
        if not 0 <= value <= largest or (isinstance(value, float) and not value.is_integer()):
            raise BadInputError(path, value, allowed)
        return int(value)

    return read


def time_s(value: object, path: str) -> float:
    """Read a point in time in seconds, on any clock."""
    # NaN compares false with everything, so it is refused here as well.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e15 <= value <= 1e15:
        raise BadInputError(path, value, "seconds, a number between -1e15 and 1e15")
    return value
