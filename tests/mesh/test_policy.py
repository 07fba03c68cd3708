"""The annotations: every key, every value, every refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import BadInputError
from mesh.policy import PREFIX, UNMANAGED, Policy, Slo, auto_connections, parse_policy


def one(key: str, value: object) -> Policy:
    """Return the policy of a single annotation."""
    return parse_policy({PREFIX + key: value})


def test_no_annotation_means_not_managed() -> None:
    """A service without our annotations is left to Envoy, whatever else is annotated."""
    assert parse_policy({}) == UNMANAGED
    assert parse_policy({"example.com/owner": "books", "routing": "uniform"}) == UNMANAGED
    assert not UNMANAGED.managed


@pytest.mark.parametrize(
    ("routing", "mode", "managed"),
    [("off", "apply", False), ("uniform", "apply", True), ("local-first", "observe", False), ("uniform", "off", False)],
)
def test_managed_is_routing_and_apply(routing: str, mode: str, managed: bool) -> None:
    """Only a routing other than off, in mode apply, changes anything on the wire."""
    assert parse_policy({PREFIX + "routing": routing, PREFIX + "mode": mode}).managed is managed


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("routing", "imbalance-aware", Policy(routing="imbalance-aware")),
        ("mode", "observe", Policy(mode="observe")),
        ("strategy", "imbres", Policy(strategy="imbres")),
        ("connections", "3", Policy(connections=3)),
        ("connections", "all", Policy(connections="all")),
        ("connections", "auto", Policy(connections=None)),
        ("cross-node-cost", "1.5", Policy(cross_node_cost_ms=1.5)),
        ("cross-node-cost", "0", Policy(cross_node_cost_ms=0.0)),
        ("cross-node-cost", "auto", Policy(cross_node_cost_ms=None)),
        ("max-overload", "1", Policy(max_overload=1.0)),
        ("max-overload", "1.25", Policy(max_overload=1.25)),
        ("slo", "p95=50ms", Policy(slo=Slo(percentile=95.0, limit_ms=50.0))),
        ("slo", "p99.9=1.5s", Policy(slo=Slo(percentile=99.9, limit_ms=1500.0))),
        ("programming", "istio-native", Policy(programming="istio-native")),
        ("scale", "recommend", Policy(scale="recommend")),
        ("move", "apply", Policy(move="apply")),
    ],
)
def test_every_key_is_read(key: str, value: str, expected: Policy) -> None:
    """Each annotation sets its own field and no other."""
    assert one(key, value) == expected


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("routing", "Uniform", "off | uniform | local-first | imbalance-aware"),
        ("mode", "", "apply | observe | off"),
        ("strategy", "firm", "askew | opttraffic | imbres"),
        ("connections", "0", "an integer >= 1, all, or auto"),
        ("connections", "-1", "an integer >= 1, all, or auto"),
        ("connections", "2.0", "an integer >= 1, all, or auto"),
        ("connections", "1_0", "an integer >= 1, all, or auto"),
        ("connections", "9" * 40, "an integer >= 1, all, or auto"),
        ("cross-node-cost", "-1", "milliseconds >= 0, or auto"),
        ("cross-node-cost", "nan", "milliseconds >= 0, or auto"),
        ("max-overload", "0.99", "a number >= 1.0"),
        ("max-overload", "inf", "a number >= 1.0"),
        ("max-overload", " 1.5", "a number >= 1.0"),
        ("slo", "95=50ms", "such as p95=50ms or p99=1.5s"),
        ("slo", "p100=50ms", "such as p95=50ms or p99=1.5s"),
        ("slo", "p0=50ms", "such as p95=50ms or p99=1.5s"),
        ("slo", "p95=0ms", "such as p95=50ms or p99=1.5s"),
        ("slo", "p95=50", "such as p95=50ms or p99=1.5s"),
        ("programming", "eds", "weighted-clusters | endpoint-weights | istio-native"),
        ("scale", "on", "off | recommend | apply"),
        ("move", "true", "off | recommend | apply"),
        ("routing", False, "a string (quote it)"),
        ("connections", 3, "a string (quote it)"),
    ],
)
def test_wrong_values_name_the_key_and_what_is_allowed(key: str, value: object, allowed: str) -> None:
    """A wrong value is refused with its key and the values that would do."""
    with pytest.raises(BadInputError) as refused:
        one(key, value)

    assert (refused.value.path, refused.value.allowed) == (f"annotations[askew.mesh/{key}]", allowed)


def test_an_unknown_key_with_our_prefix_is_refused() -> None:
    """A typing error in our own keys must not pass for somebody else's annotation."""
    with pytest.raises(
        BadInputError, match=r"^annotations\[askew.mesh/route\]: found 'askew.mesh/route', allowed: one of "
    ):
        one("route", "uniform")


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none())))
def test_foreign_annotations_are_never_refused(annotations: dict[str, object]) -> None:
    """Keys without our prefix may hold anything."""
    foreign = {key: value for key, value in annotations.items() if not key.startswith(PREFIX)}

    assert parse_policy(foreign) == UNMANAGED


@pytest.mark.parametrize(
    ("endpoints", "clients", "expected"),
    [(1, 1, 10), (10, 10, 10), (100, 10, 30), (101, 10, 31), (7, 0, 21), (0, 0, 10)],
)
def test_automatic_connections(endpoints: int, clients: int, expected: int) -> None:
    """``auto`` is max(10, ceil(3 M / N)), also where nobody calls."""
    assert auto_connections(endpoints=endpoints, clients=clients) == expected
