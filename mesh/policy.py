"""What an operator asks of a service: the ``askew.mesh/`` annotations, and nothing else reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from mesh.errors import BadInputError

PREFIX = "askew.mesh/"
CAPACITY, BEST_EFFORT = PREFIX + "capacity", PREFIX + "best-effort"
Routing = Literal["off", "uniform", "local-first", "imbalance-aware"]
Mode = Literal["apply", "observe", "off"]
Strategy = Literal["askew", "opttraffic", "imbres"]
Programming = Literal["weighted-clusters", "endpoint-weights", "istio-native"]
Recommend = Literal["off", "recommend", "apply"]

ROUTINGS: tuple[Routing, ...] = ("off", "uniform", "local-first", "imbalance-aware")
MODES: tuple[Mode, ...] = ("apply", "observe", "off")
STRATEGIES: tuple[Strategy, ...] = ("askew", "opttraffic", "imbres")
PROGRAMMINGS: tuple[Programming, ...] = ("weighted-clusters", "endpoint-weights", "istio-native")
RECOMMENDS: tuple[Recommend, ...] = ("off", "recommend", "apply")


@dataclass(frozen=True, slots=True)
class Slo:
    """A latency objective: ``percentile`` (0..100) of requests end within ``limit_ms``."""

    percentile: float
    limit_ms: float


@dataclass(frozen=True, slots=True)
class LatencyMetrics:
    """Where an app itself shows how long its requests took: a Prometheus page, and which histogram of it."""

    port: int
    path: str
    histogram: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """The annotations of one service, parsed. A field that is None was not given and means ``auto``."""

    routing: Routing = "off"
    mode: Mode = "apply"
    strategy: Strategy = "askew"
    connections: int | Literal["all"] | None = None
    cross_node_cost_ms: float | None = None
    max_overload: float = 1.0
    slo: Slo | None = None
    latency_metrics: LatencyMetrics | None = None
    programming: Programming | None = None
    scale: Recommend = "off"
    move: Recommend = "off"

    @property
    def managed(self) -> bool:
        """Whether Askew decides this service's shares on the wire."""
        return self.routing != "off" and self.mode == "apply"

    @property
    def planned(self) -> bool:
        """Whether shares are worked out for this service, be it only to be shown."""
        return self.routing != "off" and self.mode != "off"


UNMANAGED = Policy()


@dataclass(frozen=True, slots=True)
class Traits:
    """The annotations of one Pod, parsed."""

    capacity: float = 1.0
    best_effort: bool = False


def parse_policy(annotations: Mapping[str, object], *, path: str = "annotations") -> Policy:
    """Return the policy that ``annotations`` ask for; foreign keys (without our prefix) are left alone.

    Raises
    ------
    BadInputError
        for an unknown ``askew.mesh/`` key or a wrong value; names the key and what is allowed.

    Examples
    --------
    >>> parse_policy({"askew.mesh/routing": "local-first", "askew.mesh/connections": "3"}).connections
    3
    """
    values: dict[str, Any] = {}
    for key, value in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        where = f"{path}[{key}]"
        if name not in _PARSERS:
            raise BadInputError(where, key, "one of " + ", ".join(PREFIX + known for known in _PARSERS))
        if not isinstance(value, str):
            raise BadInputError(where, value, "a string (quote it)")
        field_name, parse = _PARSERS[name]
        values[field_name] = parse(value, where)
    return Policy(**values)


def parse_traits(annotations: Mapping[str, object], *, path: str = "annotations") -> Traits:
    """Return what a Pod's annotations say of it; foreign keys are left alone. Raises BadInputError as ``parse_policy``.

    >>> parse_traits({"askew.mesh/capacity": "2.5"})
    Traits(capacity=2.5, best_effort=False)
    """
    values: dict[str, Any] = {}
    for key, value in annotations.items():
        if not key.startswith(PREFIX):
            continue
        where = f"{path}[{key}]"
        if key not in (CAPACITY, BEST_EFFORT):
            raise BadInputError(where, key, f"one of {CAPACITY}, {BEST_EFFORT} (on a Pod)")
        if not isinstance(value, str):
            raise BadInputError(where, value, "a string (quote it)")
        if key == CAPACITY:
            values["capacity"] = _number(value, where, at_least=0.0, allowed="a number > 0")
            if values["capacity"] == 0.0:
                raise BadInputError(where, value, "a number > 0")
        else:
            values["best_effort"] = _one_of(("true", "false"))(value, where) == "true"
    return Traits(**values)


def parse_namespace_mode(annotations: Mapping[str, object], *, path: str = "annotations") -> Mode:
    """Return the mode that a Namespace sets for all its services. Raises BadInputError as ``parse_policy``.

    >>> parse_namespace_mode({"askew.mesh/mode": "off"})
    'off'
    """
    ours = {key: value for key, value in annotations.items() if key.startswith(PREFIX)}
    for key in ours:
        if key != PREFIX + "mode":
            raise BadInputError(f"{path}[{key}]", key, f"{PREFIX}mode (on a Namespace)")
    return parse_policy(ours, path=path).mode


def stricter(one: Mode, other: Mode) -> Mode:
    """Return the mode that does less.

    >>> stricter("apply", "observe")
    'observe'
    """
    return one if MODES.index(one) > MODES.index(other) else other


def auto_connections(*, endpoints: int, clients: int) -> int:
    """Return the default of ``askew.mesh/connections``: max(10, ceil(3·M/N)), for M endpoints and N clients.

    >>> auto_connections(endpoints=100, clients=10)
    30
    """
    return max(10, math.ceil(3 * endpoints / max(1, clients)))


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], str]:
    def parse(value: str, where: str) -> str:
        if value not in allowed:
            raise BadInputError(where, value, " | ".join(allowed))
        return value

    return parse


def _number(value: str, where: str, *, at_least: float, allowed: str) -> float:
    # float() takes underscores, blanks and non-ASCII digits: an annotation does not.
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", value) or float(value) < at_least:
        raise BadInputError(where, value, allowed)
    return float(value)


def _connections(value: str, where: str) -> int | str | None:
    if value == "auto":
        return None
    if value == "all":
        return "all"
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < 1:
        raise BadInputError(where, value, "an integer >= 1, all, or auto")
    return int(value)


def _cross_node_cost(value: str, where: str) -> float | None:
    if value == "auto":
        return None
    return _number(value, where, at_least=0.0, allowed="milliseconds >= 0, or auto")


def _max_overload(value: str, where: str) -> float:
    return _number(value, where, at_least=1.0, allowed="a number >= 1.0")


def _slo(value: str, where: str) -> Slo:
    allowed = "such as p95=50ms or p99=1.5s"
    match = re.fullmatch(r"p([0-9]{1,2}(?:\.[0-9]{1,6})?)=([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s)", value)
    if match is None:
        raise BadInputError(where, value, allowed)
    percentile, limit = float(match[1]), float(match[2]) * (1000.0 if match[3] == "s" else 1.0)
    if percentile <= 0.0 or limit <= 0.0:
        raise BadInputError(where, value, allowed)
    return Slo(percentile=percentile, limit_ms=limit)


def _latency_metrics(value: str, where: str) -> LatencyMetrics:
    match = re.fullmatch(
        r"([0-9]{1,5})(/[-._~!$&'()*+,;=:@/?%A-Za-z0-9]{0,500})(?:#([A-Za-z_:][A-Za-z0-9_:]{0,200}))?", value
    )
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise BadInputError(where, value, "PORT/PATH or PORT/PATH#HISTOGRAM, such as 9090/metrics#request_seconds")
    return LatencyMetrics(int(match[1]), match[2], match[3] or "")


_PARSERS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "routing": ("routing", _one_of(ROUTINGS)),
    "mode": ("mode", _one_of(MODES)),
    "strategy": ("strategy", _one_of(STRATEGIES)),
    "connections": ("connections", _connections),
    "cross-node-cost": ("cross_node_cost_ms", _cross_node_cost),
    "max-overload": ("max_overload", _max_overload),
    "slo": ("slo", _slo),
    "latency-metrics": ("latency_metrics", _latency_metrics),
    "programming": ("programming", _one_of(PROGRAMMINGS)),
    "scale": ("scale", _one_of(RECOMMENDS)),
    "move": ("move", _one_of(RECOMMENDS)),
}
assert {name for name, _ in _PARSERS.values()} == {f.name for f in fields(Policy)}
