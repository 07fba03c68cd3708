"""Which proxies a CSDS request means.

A proxy is meant if any matcher fits it; without matchers every proxy is. Source: envoy/type/matcher/v3/node.proto,
string.proto, struct.proto. Regular expressions are refused: Envoy's are RE2, which takes linear time; Python's are not,
and one request could hold the control plane up for hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from xds_server.errors import XdsError
from xds_server.proxy import Proxy

_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}


MOST_MATCHERS = 100


class UnsupportedMatcherError(XdsError):
    """A matcher that we cannot apply: refuse the request with this message."""


def checked(matchers: Iterable[Any]) -> Sequence[Any]:
    """Return a request's node matchers. Raises UnsupportedMatcherError for more than are looked at for each proxy."""
    listed = list(matchers)
    number = len(listed) + sum(len(matcher.node_metadatas) for matcher in listed)
    if number > MOST_MATCHERS:
        raise UnsupportedMatcherError(f"node_matchers: found {number}, allowed: {MOST_MATCHERS}")
    return listed


def matches_any(matchers: Sequence[Any], proxy: Proxy) -> bool:
    """Return whether a proxy is meant by a request's node matchers. Raises UnsupportedMatcherError."""
    return not matchers or any(_matches(matcher, proxy) for matcher in matchers)


def _matches(matcher: Any, proxy: Proxy) -> bool:
    if matcher.HasField("node_id") and not _string(matcher.node_id, proxy.id):
        return False
    return all(_metadata(one, proxy) for one in matcher.node_metadatas)


def _metadata(matcher: Any, proxy: Proxy) -> bool:
    if len(matcher.path) != 1 or matcher.value.WhichOneof("match_pattern") not in ("string_match", "present_match"):
        raise UnsupportedMatcherError("node_metadatas: allowed: a path of one key, and string_match or present_match")
    value = proxy.metadata.get(matcher.path[0].key)
    if matcher.value.WhichOneof("match_pattern") == "present_match":
        return bool((value is not None) == matcher.value.present_match)
    return isinstance(value, str) and _string(matcher.value.string_match, value)


def _string(matcher: Any, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind not in _COMPARE:
        raise UnsupportedMatcherError(f"string match: found {kind}, allowed: {', '.join(_COMPARE)}")
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    return _COMPARE[kind](value, wanted)
