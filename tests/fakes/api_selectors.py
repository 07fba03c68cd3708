"""Label and field selectors, as the API server reads them in a query."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.fakes.api_objects import Object, StatusError

Matches = Callable[[Object], bool]
_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*")
_EQUALS = re.compile(r"\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s!=,()]+)\s*")


def selector(labels: str, fields: str) -> Matches:
    """Return whether an object matches both. Raises 400 for what cannot be read."""
    terms = [_label_term(term) for term in _split(labels)] + [_field_term(term) for term in _split(fields)]
    return lambda body: all(term(body) for term in terms)


def _split(text: str) -> list[str]:
    return [term for term in re.split(r",(?![^(]*\))", text) if term.strip()]


def _label_term(term: str) -> Matches:
    def value(body: Object, key: str) -> str | None:
        return (body["metadata"].get("labels") or {}).get(key)

    if found := _SET.fullmatch(term):
        key, members = found[1], {member.strip() for member in found[3].split(",")}
        return lambda body: (value(body, key) in members) == (found[2] == "in")
    if found := _EQUALS.fullmatch(term):
        return lambda body: (value(body, found[1]) == found[3]) == (found[2] != "!=")
    if found := _EXISTS.fullmatch(term):
        return lambda body: (value(body, found[2]) is None) == bool(found[1])
    raise StatusError(400, "BadRequest", f"unable to parse requirement: {term}")


def _field_term(term: str) -> Matches:
    found = _EQUALS.fullmatch(term)
    if found is None:
        raise StatusError(400, "BadRequest", f"invalid selector: {term}")
    path = found[1].split(".")

    def value(body: Any) -> Any:
        for key in path:
            body = body.get(key, "") if isinstance(body, dict) else ""
        return body

    return lambda body: (value(body) == found[3]) == (found[2] != "!=")
