"""Services on the same cores: Table 4 is met, waits are a law, and who shares is never better off."""

from __future__ import annotations

import numpy as np
import pytest

from allocators.partitioning.static import Unmanaged
from lab.colocation.applications import APPLICATIONS
from lab.colocation.calibration import NEIGHBOUR, SAME_HYPERTHREAD, beside_a_neighbour, on_the_same_hyperthread
from lab.colocation.closed_loop import residents_of
from lab.colocation.fitting import neighbour_cost
from lab.colocation.latency_law import P99, Delay, law_of
from lab.colocation.machine import CORES, FREQUENCIES, WAYS
from lab.colocation.node import SimulatedNode
from lab.colocation.sharing import Guest, Share, SharingModel, shares
from mesh.topology import ContainerName

POOL = (CORES, WAYS, FREQUENCIES)


@pytest.mark.parametrize("name", NEIGHBOUR)
def test_the_row_of_neighbours_is_met(name: str) -> None:
    """What the constants were fitted to; each is what the fit finds."""
    assert beside_a_neighbour(name) == NEIGHBOUR[name]
    assert APPLICATIONS[name].neighbour_cost == pytest.approx(neighbour_cost(name), abs=0.006)


@pytest.mark.parametrize("name", SAME_HYPERTHREAD)
def test_the_row_of_the_same_hyperthread_follows(name: str) -> None:
    """Nothing was fitted to it: the scheduler's slice and half of the time explain it, but for Sphinx' 20 %."""
    assert on_the_same_hyperthread(name, SharingModel()) == (20 if name == "sphinx" else SAME_HYPERTHREAD[name])


@pytest.mark.parametrize("part", [0.005, 0.05, 0.9])
def test_a_late_part_is_the_inverse_of_a_tail_with_waits(part: float) -> None:
    """Before, between and beyond both knees."""
    law = law_of(APPLICATIONS["xapian"], rate_per_s=5000.0, service_s=1e-3, servers=9, delay=Delay(part, 2e-3))
    for x in (0.01, 0.5, 2.0, P99, 9.0):
        assert law.late_part(law.at(x)) == pytest.approx(np.exp(-x), rel=1e-9)
        assert law.exceeding(np.array([law.at(x)]))[0] == pytest.approx(np.exp(-x), rel=1e-9)


def test_a_tail_with_waits_is_longer_where_waits_reach() -> None:
    """A wait of a part of 1 % begins at p99: at p99 nothing changes, at p99.9 it does."""
    bare = law_of(APPLICATIONS["nginx"], rate_per_s=1e5, service_s=2e-5, servers=9)
    delayed = law_of(APPLICATIONS["nginx"], rate_per_s=1e5, service_s=2e-5, servers=9, delay=Delay(0.01, 2e-3))

    assert delayed.at(P99) == pytest.approx(bare.at(P99))
    assert delayed.at(P99 + np.log(10.0)) == pytest.approx(bare.at(P99 + np.log(10.0)) + 2.0 * np.log(10.0))


def _pool(*, has_job: bool = False, **loads: float) -> dict[ContainerName, Share]:
    guests = {ContainerName(name): Guest(APPLICATIONS[name], load, 0.0, 0.1) for name, load in loads.items()}
    return shares(guests, POOL, has_job=has_job, model=SharingModel())


def test_who_is_alone_shares_nothing() -> None:
    """A pool of one service is a partition."""
    only = _pool(xapian=0.5)[ContainerName("xapian")]
    application = APPLICATIONS["xapian"]

    assert only.delay == Delay(0.0, 0.0)
    assert only.service_s == application.service_time_s(ways=WAYS, ghz=application.turbo_ghz, pressure=0.0, load=0.5)


def test_others_slow_down_and_make_wait() -> None:
    """The more they are busy, the more; nobody waits longer than a slice on average."""
    few, many = (_pool(memcached=0.1, moses=load)[ContainerName("memcached")] for load in (0.1, 0.5))

    assert few.service_s < many.service_s
    assert few.delay.part < many.delay.part
    assert few.delay.mean_s <= SharingModel().slice_s


def test_a_job_in_the_pool_is_a_neighbour_that_never_rests_and_yields() -> None:
    """All that is left of the cores is its own; who wakes has its place at once."""
    beside, alone = (_pool(xapian=0.1, has_job=has_job)[ContainerName("xapian")] for has_job in (True, False))
    cost = APPLICATIONS["xapian"].neighbour_cost

    assert beside.service_s == pytest.approx(alone.service_s * (1.0 + cost * (1.0 - beside.load / CORES)), rel=1e-6)
    assert beside.delay == Delay(0.0, 0.0)


def test_memcached_beside_a_job_without_partitions_carries_little() -> None:
    """Table 4's row "CPU" in the closed loop: late at 30 % of its load beside a job, not at 50 % alone."""
    late = {}
    for jobs, load in ((1, 0.3), (0, 0.5)):
        residents = residents_of(("memcached",), jobs=jobs)
        node = SimulatedNode(residents, {ContainerName("memcached"): load}, np.random.default_rng(1))
        node.grants = Unmanaged().start(node.first_view(), seed=1).wanted
        node.tick(0.5)
        late[jobs] = node.late_parts()[ContainerName("memcached")]

    assert late[1] > 0.01 > late[0]
