"""Joining cAdvisor's two metrics into rates of pods, whatever labels they come with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istio.network_counters import POD_LABELS, PodRates, pod_rates
from istio.prometheus import Answer, Series
from mesh.telemetry import PodBytes
from mesh.topology import ContainerName

CART = ContainerName("cart-0")
PODS = {("shop", "cart"): CART}
NOW_S, OLDEST_S = 1000.0, 850.0


def one(value: float, *, interface: str = "eth0", **labels: str) -> Series:
    return Series({"namespace": "shop", "pod": "cart", "interface": interface, **labels}, ((NOW_S, value),))


def joined(received: list[Series], sent: list[Series], *, counted_s: float = 990.0) -> PodRates:
    times = [Series(series.labels, ((NOW_S, counted_s),)) for series in (*received, *sent)]
    return pod_rates(*(Answer(tuple(found)) for found in (received, sent, times)), PODS, oldest_s=OLDEST_S)


def test_both_directions_and_the_time_of_the_scrape_are_a_pods_rates() -> None:
    """Nothing is left out."""
    result = joined([one(20.0)], [one(5.0)])
    assert result.pods == (PodBytes(CART, 990.0, 20.0, 5.0),)
    assert result.left_out == {}


@pytest.mark.parametrize("labels", POD_LABELS)
def test_every_known_spelling_of_the_pods_labels(labels: tuple[str, str]) -> None:
    """Old kubelets and cAdvisor by itself name the pod otherwise."""
    spelled = Series({labels[0]: "shop", labels[1]: "cart", "interface": "eth0"}, ((NOW_S, 7.0),))
    assert joined([spelled], [spelled]).pods == (PodBytes(CART, 990.0, 7.0, 7.0),)


def test_labels_that_the_scrape_pushed_aside_name_the_pod() -> None:
    """Without honor_labels a scrape's own namespace and pod go first, which are the exporter's."""
    moved = one(7.0, namespace="monitoring", exported_namespace="shop", pod="agent", exported_pod="cart")
    half = one(7.0, namespace="monitoring", exported_namespace="shop")
    for series in (moved, half):
        assert joined([series], [series]).pods == (PodBytes(CART, 990.0, 7.0, 7.0),)


@pytest.mark.parametrize(
    ("times", "why"),
    [((), "cAdvisor is not scraped, or its metrics are dropped"), ((one(990.0),), "no two samples in the window")],
)
def test_no_series_at_all_is_said(times: tuple[Series, ...], why: str) -> None:
    """Absent is a reason, never zeros."""
    result = pod_rates(Answer(()), Answer(()), Answer(times), PODS, oldest_s=OLDEST_S)
    assert (result.pods, [reason.partition(": ")[2] for reason in result.left_out]) == ((), [why])


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_values_that_are_no_rates_are_left_out(value: float) -> None:
    """And with them the pod, of which one direction is missing."""
    result = joined([one(value)], [one(9.0)])
    assert result.pods == ()
    assert result.left_out == {"values that are no rates": 1, "pods with one direction only": 1}


def test_one_direction_alone_is_none() -> None:
    """Zero would be a lie."""
    assert joined([one(9.0)], []).pods == joined([], [one(9.0)]).pods == ()


def test_doubled_series_count_once_and_as_the_larger() -> None:
    """Two jobs that spell the pod otherwise: the one that saw more; both directions, whatever the order."""
    more, less = one(11.0), Series({"namespace": "shop", "pod_name": "cart", "interface": "eth0"}, ((NOW_S, 10.0),))
    for series in ([more, less], [less, more]):
        result = joined(series, series)
        assert result.pods == (PodBytes(CART, 990.0, 11.0, 11.0),)
        assert result.left_out == {"doubled series": 2}


@pytest.mark.parametrize("interface", ["eni0123", "cali12", "cilium_host", "gke0a1b", "kube-ipvs0", "vxlan.calico"])
def test_interfaces_that_only_nodes_have_mean_the_hosts_network(interface: str) -> None:
    """The pod's eth0 is the node's then."""
    both = [one(7.0), one(7.0, interface=interface)]
    assert joined(both, both).left_out == {"pods on the host's network: the counters are the node's": 1}


def test_a_pod_that_is_counted_no_more_is_none() -> None:
    """What the window still holds of it is over."""
    assert joined([one(7.0)], [one(7.0)], counted_s=OLDEST_S).pods
    stopped = joined([one(7.0)], [one(7.0)], counted_s=OLDEST_S - 1.0)
    assert (stopped.pods, stopped.left_out) == ((), {"pods that are counted no more": 1})


def test_a_missing_interface_label_is_one_interface() -> None:
    """Relabelling may have dropped it."""
    bare = Series({"namespace": "shop", "pod": "cart"}, ((NOW_S, 3.0),))
    assert joined([bare], [bare]).pods == (PodBytes(CART, 990.0, 3.0, 3.0),)


def test_pods_that_nobody_asked_for_are_passed_over() -> None:
    """Neither rates nor a complaint."""
    other = one(3.0, pod="other")
    assert joined([other], [other]).left_out == {}


_label = st.sampled_from(["", "shop", "cart", "eth0", "veth1", "net1", "lo"])
_name = st.sampled_from(["namespace", "pod", "pod_name", "interface", "exported_pod", "job"])
_sample = st.tuples(st.integers(0, 5).map(float), st.floats())
_series = st.lists(
    st.builds(Series, st.dictionaries(_name, _label), st.lists(_sample, max_size=2).map(tuple)), max_size=8
)


@given(_series, _series, _series)
def test_any_series_give_finite_rates_or_none(received: list[Series], sent: list[Series], times: list[Series]) -> None:
    """Whatever labels and values come; a pod stands at most once."""
    result = pod_rates(*(Answer(tuple(found)) for found in (received, sent, times)), PODS, oldest_s=2.0)
    assert len(result.pods) <= 1
    for found in result.pods:
        assert 0.0 <= found.received_bytes_per_s < math.inf
        assert 0.0 <= found.sent_bytes_per_s < math.inf
