"""What of a node its strategy divides: what it has, can be told apart, and was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping

from allocators.partitioning.node_view import Divisible
from enforcer.agent import AWAY, NETWORK_RESOURCES
from enforcer.extents import Extents
from enforcer.settings import AgentSettings
from mesh.actions import Resource
from mesh.errors import BadInputError

CPU_STEP_CORES = 0.1
CPUSET_FROM = 8  # fewer CPUs are too coarse to be given out whole
FREQUENCY_STEP_MHZ = 100.0
MEMORY_STEP_BYTES = 2**28  # PARTIES: 1 GB, on a node of 128
MEMORY_DIVIDED = 0.9  # the rest is for what runs outside of containers
RATE_STEPS = 20  # PARTIES: 0.5 of 10 Gbit/s
SIZED: tuple[Resource, ...] = ("disk_read", "disk_write", "network_egress", "network_ingress")
DIVISIBLE: tuple[Resource, ...] = ("cpu", "cpuset", "cache", "cpu_frequency", "memory", "memory_bandwidth", *SIZED)


def divisibles(capabilities: Mapping[str, str], extents: Extents, settings: AgentSettings) -> tuple[Divisible, ...]:
    """Return what a node's strategy divides, by ``settings.resources``.

    A network role that does not answer yet keeps no network resource out: it may come later.

    Raises
    ------
    BadInputError
        where a resource is named that is not divided, or that this node does not have.
    """
    possible = _possible(extents, settings)
    have = {resource: one for resource, one in possible.items() if _is_had(resource, capabilities)}
    if settings.resources == "auto":
        processor: Resource = "cpuset" if extents.cpus >= CPUSET_FROM and "cpuset" in have else "cpu"
        chosen: list[str] = [name for name in (processor, "cache", "cpu_frequency", *SIZED) if name in have]
    else:
        chosen = named_resources(settings.resources)
    found: list[Divisible] = []
    for name in chosen:
        if name not in have:
            raise BadInputError("agent.resources", name, f"what this node has ({_why_not(name, capabilities)})")
        found.append(have[name])
    return tuple(found)


def named_resources(listed: str) -> list[str]:
    """Return the resources of a list with commas. Raises BadInputError for one that no node divides."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    for name in names:
        if name not in DIVISIBLE:
            raise BadInputError("agent.resources", name, "auto, or of " + ", ".join(DIVISIBLE))
    return names


def _is_had(resource: str, capabilities: Mapping[str, str]) -> bool:
    said = capabilities.get(resource, "")
    return said == "supported" or (resource in NETWORK_RESOURCES and said.startswith(AWAY))


def _why_not(resource: str, capabilities: Mapping[str, str]) -> str:
    said = capabilities.get(resource, "unknown")
    if said != "supported":
        return said
    if resource in SIZED:
        unit = "disk_bytes_per_s" if resource.startswith("disk") else "network_bits_per_s"
        return f"agent.{unit} is not given"
    return "how much there is, is not known, or not counted in percent"


def _possible(extents: Extents, settings: AgentSettings) -> dict[Resource, Divisible]:
    """Return every resource of which it is known how much there is."""
    cpus = extents.cpus - settings.reserve_cores
    made = [
        Divisible("cpu", "cores", CPU_STEP_CORES, max(1, math.floor(cpus / CPU_STEP_CORES + 1e-9))),
        Divisible("cpuset", "cpus", 1.0, max(1, math.floor(cpus))),
    ]
    if extents.cache_ways:
        made.append(Divisible("cache", "ways", 1.0, extents.cache_ways))
    steps = round((extents.highest_mhz - extents.lowest_mhz) / FREQUENCY_STEP_MHZ)
    if steps > 0:
        origin = extents.lowest_mhz
        made.append(Divisible("cpu_frequency", "mhz", FREQUENCY_STEP_MHZ, steps, origin=origin, pooled=False))
    blocks = math.floor(extents.memory_bytes * MEMORY_DIVIDED / MEMORY_STEP_BYTES)
    if blocks:
        made.append(Divisible("memory", "bytes", float(MEMORY_STEP_BYTES), blocks))
    if extents.bandwidth_step_percent:
        step = extents.bandwidth_step_percent
        made.append(Divisible("memory_bandwidth", "percent", float(step), 100 // step))
    if settings.disk_bytes_per_s > 0.0:
        step_bytes = settings.disk_bytes_per_s / RATE_STEPS
        made.append(Divisible("disk_read", "bytes_per_s", step_bytes, RATE_STEPS))
        made.append(Divisible("disk_write", "bytes_per_s", step_bytes, RATE_STEPS))
    if settings.network_bits_per_s > 0.0:
        step_bits = settings.network_bits_per_s / RATE_STEPS
        made.append(Divisible("network_egress", "bits_per_s", step_bits, RATE_STEPS))
        made.append(Divisible("network_ingress", "bits_per_s", step_bits, RATE_STEPS))
    return {one.resource: one for one in made}
