"""Joining cAdvisor's two metrics into samples of pods, whatever labels they come with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istio.network_counters import POD_LABELS, PodCounters, pod_counters
from istio.prometheus import Answer, Series
from mesh.counter_sample import CounterSample
from mesh.topology import ContainerName

CART = ContainerName("cart-0")
PODS = {("shop", "cart"): CART}


def series(*samples: tuple[float, float], interface: str = "eth0", **labels: str) -> Series:
    return Series({"namespace": "shop", "pod": "cart", "interface": interface, **labels}, samples)


def joined(receive: list[Series], transmit: list[Series]) -> PodCounters:
    return pod_counters(Answer(tuple(receive)), Answer(tuple(transmit)), PODS)


def test_both_directions_at_one_time_are_a_sample() -> None:
    """A time that only one direction has gives none."""
    result = joined([series((1.0, 10), (2.0, 20))], [series((2.0, 5), (3.0, 6))])
    assert result.samples == (CounterSample(CART, 2.0, 20, 5),)
    assert (result.no_counters, result.left_out) == ((), {})


@pytest.mark.parametrize("labels", POD_LABELS)
def test_every_known_spelling_of_the_pods_labels(labels: tuple[str, str]) -> None:
    """Old kubelets and cAdvisor by itself name the pod otherwise."""
    one = Series({labels[0]: "shop", labels[1]: "cart", "interface": "eth0"}, ((1.0, 7),))
    assert joined([one], [one]).samples == (CounterSample(CART, 1.0, 7, 7),)


def test_no_series_at_all_is_said() -> None:
    """Absent is a reason and a pod without counters, never zeros."""
    result = joined([], [])
    assert result.no_counters == (CART,)
    assert [reason.split(":")[0] for reason in result.left_out] == ["no series"]


def test_values_that_are_no_counts_are_left_out() -> None:
    """NaN, infinite, negative: dropped and counted."""
    bad = series((1.0, math.nan), (2.0, math.inf), (3.0, -1), (4.0, 8))
    result = joined([bad], [series((4.0, 9))])
    assert result.samples == (CounterSample(CART, 4.0, 8, 9),)
    assert result.left_out == {"samples that are no counts": 3}


def test_doubled_series_count_once_and_the_same_for_both_directions() -> None:
    """Two scrape jobs: one of them is taken, whatever the order of the answer."""
    one, two = series((1.0, 10), job="a"), series((1.0, 11), job="b")
    assert joined([one, two], [two, one]).samples == (CounterSample(CART, 1.0, 10, 10),)
    assert joined([two, one], [one, two]).left_out == {"doubled series": 2}


def test_a_sandbox_that_was_made_anew_counts_and_the_dead_one_does_not() -> None:
    """The old one's series may be longer for minutes; the bytes of now are in the new one's."""
    old, new = series((1.0, 90), (2.0, 95), (3.0, 99), id="/a"), series((4.0, 5), (5.0, 9), id="/b")
    assert [sample.receive_bytes for sample in joined([old, new], [old, new]).samples] == [5, 9]


def test_labels_that_the_scrape_pushed_aside_name_the_pod() -> None:
    """Without honor_labels a scrape's own namespace and pod go first, which are the exporter's."""
    moved = series((1.0, 7), namespace="monitoring", exported_namespace="shop", pod="agent", exported_pod="cart")
    half = series((1.0, 7), namespace="monitoring", exported_namespace="shop")
    for one in (moved, half):
        assert joined([one], [one]).samples == (CounterSample(CART, 1.0, 7, 7),)


@pytest.mark.parametrize("interface", ["eni0123", "cali12", "cilium_host", "gke0a1b", "kube-ipvs0", "vxlan.calico"])
def test_interfaces_that_only_nodes_have_mean_the_hosts_network(interface: str) -> None:
    """The pod's eth0 is the node's then."""
    both = [series((1.0, 7)), series((1.0, 7), interface=interface)]
    result = joined(both, both)
    assert (result.samples, result.no_counters) == ((), (CART,))


def test_a_missing_interface_label_is_one_interface() -> None:
    """Relabelling may have dropped it."""
    bare = Series({"namespace": "shop", "pod": "cart"}, ((1.0, 3),))
    assert joined([bare], [bare]).samples == (CounterSample(CART, 1.0, 3, 3),)


def test_pods_that_nobody_asked_for_are_passed_over() -> None:
    """Neither a sample nor a complaint."""
    other = series((1.0, 3), pod="other")
    assert joined([other], [other]).left_out == {}


_label = st.sampled_from(["", "shop", "cart", "eth0", "veth1", "net1", "lo"])
_name = st.sampled_from(["namespace", "pod", "pod_name", "interface", "id", "job"])
_sample = st.tuples(st.integers(0, 5).map(float), st.floats())
_series = st.builds(Series, st.dictionaries(_name, _label), st.lists(_sample, max_size=4).map(tuple))


@given(st.lists(_series, max_size=8), st.lists(_series, max_size=8))
def test_any_series_give_finite_samples_or_reasons(receive: list[Series], transmit: list[Series]) -> None:
    """Whatever labels and values come, samples are counts and a pod has samples or is named as having none."""
    result = joined(receive, transmit)
    assert all(sample.receive_bytes >= 0 and sample.transmit_bytes >= 0 for sample in result.samples)
    assert bool(result.samples) != bool(result.no_counters)
