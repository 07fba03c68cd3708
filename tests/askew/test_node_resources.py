"""What a node divides: by default, by name, and where its size has to be told."""

from __future__ import annotations

import pytest

from askew.node_resources import DIVISIBLE, divisibles
from enforcer.agent import AWAY
from enforcer.extents import Extents
from enforcer.settings import AgentSettings
from mesh.actions import RESOURCES
from mesh.errors import BadInputError

ALL = dict.fromkeys(RESOURCES, "supported")
LARGE = Extents(cpus=20, cache_ways=11, memory_bytes=64 * 2**30, bandwidth_step_percent=10, least_bandwidth_percent=10)


def amounts(extents: Extents, settings: AgentSettings) -> list[tuple[str, int, float]]:
    return [(one.resource, one.total, one.step) for one in divisibles(ALL, extents, settings)]


def test_a_small_node_divides_cpu_time_and_a_large_one_cpus() -> None:
    """Two CPUs cannot be given out whole to three containers; twenty can. Memory is not divided unasked."""
    assert amounts(Extents(cpus=2), AgentSettings()) == [("cpu", 20, 0.1)]
    assert amounts(LARGE, AgentSettings(reserve_cores=2.0)) == [("cpuset", 18, 1.0), ("cache", 11, 1.0)]


def test_every_resource_of_an_action_can_be_divided() -> None:
    """Nothing that the writer can limit is out of the loop's reach."""
    assert set(DIVISIBLE) == set(RESOURCES)


def test_memory_and_its_bandwidth_are_divided_by_name() -> None:
    """Nine tenths of 64 GiB in blocks of 256 MiB; 100 % in the hardware's own steps."""
    found = amounts(LARGE, AgentSettings(resources="memory, memory_bandwidth"))

    assert found == [("memory", 230, 2.0**28), ("memory_bandwidth", 10, 10.0)]


def test_disk_and_network_are_divided_where_their_size_is_told() -> None:
    """No kernel file says how fast a disk or a link is: with the setting, each is twenty steps, each way."""
    told = AgentSettings(disk_bytes_per_s=1e9, network_bits_per_s=10e9)

    assert amounts(Extents(cpus=2), told) == [
        ("cpu", 20, 0.1), ("disk_read", 20, 5e7), ("disk_write", 20, 5e7),
        ("network_egress", 20, 5e8), ("network_ingress", 20, 5e8),
    ]  # fmt: skip


def test_a_network_role_that_is_still_away_keeps_nothing_out() -> None:
    """The two roles start in any order."""
    away = {"network_egress": f"{AWAY}: no socket"}
    asked = AgentSettings(resources="network_egress", network_bits_per_s=1e9)

    assert [one.resource for one in divisibles(away, Extents(), asked)] == ["network_egress"]


@pytest.mark.parametrize(
    ("resources", "capabilities", "why"),
    [
        ("cache", {"cache": "resctrl is not mounted"}, "not mounted"),
        ("disk_read", ALL, r"agent\.disk_bytes_per_s is not given"),
        ("memory_bandwidth", ALL, "not counted in percent"),
        ("gold", ALL, "auto, or of cpu, "),
    ],
)
def test_a_resource_that_the_node_lacks_is_refused_by_name(
    resources: str, capabilities: dict[str, str], why: str
) -> None:
    """Asked for by name, what cannot be divided here is bad input, not silence."""
    with pytest.raises(BadInputError, match=rf"agent\.resources.*{why}"):
        divisibles(capabilities, Extents(cpus=2), AgentSettings(resources=resources))
