"""One tick, written down once: telemetry to picture to plan. It lists the steps and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from allocators.mesh_plan import PlanMemory, plan_mesh
from estimators.client_rates import client_rates
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import Topology


@dataclass(frozen=True)
class Memory:
    """All that survives from tick to tick; estimators and allocators keep no state of their own."""

    plan: PlanMemory = field(default_factory=PlanMemory)


def tick(memory: Memory, topology: Topology, telemetry: Telemetry) -> tuple[Memory, Picture, Plan]:
    """Return what to remember, what is, and what should be."""
    picture = Picture(client_rates=client_rates(topology))
    plan, plan_memory = plan_mesh(topology, picture, memory.plan)
    return Memory(plan=plan_memory), picture, plan
