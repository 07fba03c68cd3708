"""Resources without a wheel of their own: network by what is unused, memory bandwidth by who is late."""

from __future__ import annotations

import pytest

from allocators.partitioning.memory_bandwidth import adjust_memory_bandwidth
from allocators.partitioning.network import adjust_network
from allocators.partitioning.node_view import Divisible, NodeView, Units
from tests.allocators.partitioning.nodes import tenant, view

GIGABIT = (Divisible("network_egress", "bits_per_s", 5e7, 20),)
BANDWIDTH = (Divisible("memory_bandwidth", "percent", 10.0, 10),)


def seen(resources: tuple[Divisible, ...], used: float = 0.0, **units: int) -> NodeView:
    """A node on which ``a`` and ``b`` are services, all others jobs; ``used`` is what each service sends."""
    tenants = (
        tenant(
            name,
            (amount,),
            resources=resources,
            kind="latency-critical" if name in "ab" else "best-effort",
            network_bits_per_s=used if name in "ab" else float("nan"),
        )
        for name, amount in units.items()
    )
    return view(*tenants, resources=resources)


@pytest.mark.parametrize(
    ("used", "after"),
    [
        (0.48e9, {"a": (11,), "job": (9,)}),  # 20 Mbit/s unused of 500
        (0.42e9, {"a": (10,), "job": (10,)}),
        (0.30e9, {"a": (9,), "job": (11,)}),
    ],
)
def test_on_a_slow_link_a_twentieth_to_a_tenth_stays_unused(used: float, after: dict[str, Units]) -> None:
    """One Gbit/s: the service takes from the job, and gives to it what it does not use."""
    node = seen(GIGABIT, used, a=10, job=10)

    assert adjust_network(node, node.holdings())[0] == after


def test_without_a_job_and_a_pool_nobody_gives() -> None:
    """Two services that both need more keep what they have: no unit is made."""
    node = seen(GIGABIT, 0.49e9, a=10, b=10)

    assert adjust_network(node, node.holdings()) == ({"a": (10,), "b": (10,)}, ())


def test_memory_bandwidth_goes_from_the_largest_job_to_who_is_late() -> None:
    """One unit a step, for who is late only; the pool first."""
    full, pool = seen(BANDWIDTH, a=2, b=2, small=2, job=4), seen(BANDWIDTH, a=2, b=2, small=2, job=2)
    late = (full.tenants[0].container,)

    assert adjust_memory_bandwidth(full, full.holdings(), late)[0] == {"a": (3,), "b": (2,), "small": (2,), "job": (3,)}
    assert adjust_memory_bandwidth(pool, pool.holdings(), late)[0] == {"a": (3,), "b": (2,), "small": (2,), "job": (2,)}


def test_the_last_unit_of_memory_bandwidth_is_nobodys_to_give() -> None:
    """The hardware has a lowest part; a service gives none to another."""
    node = seen(BANDWIDTH, a=2, b=7, job=1)

    assert adjust_memory_bandwidth(node, node.holdings(), (node.tenants[0].container,)) == (node.holdings(), ())
