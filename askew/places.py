"""Where the clients and endpoints of a service stand: what explains their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.plan import ServicePlan
from mesh.standby import TIERS, standbys, tier_of
from mesh.topology import Container, ContainerName, Service, Topology


def places_json(
    topology: Topology, clients: Sequence[ContainerName], endpoints: Sequence[ContainerName]
) -> dict[str, Any]:
    """Return node, zone and region of each client and endpoint, in their order, and each pair's tier.

    A container that has gone since the plan was made has None for its place, and its pairs have None for their tier.
    Cost O(clients × endpoints).
    """
    known = topology.container_by_name
    ends = [known.get(name) for name in endpoints]
    return {
        "client_places": [_place(topology, known.get(name)) for name in clients],
        "endpoint_places": [_place(topology, end) for end in ends],
        "capacities": [end.capacity if end is not None else None for end in ends],
        "tiers": [[_tier(topology, known.get(name), end) for end in ends] for name in clients],
    }


def standbys_json(topology: Topology, service: Service, plan: ServicePlan) -> dict[str, Any]:
    """Return for each client, by tier, who takes over where all its endpoints there fail; ``all`` is without tiers."""
    has_tiers = plan.programming == "weighted-clusters"
    found: dict[str, Mapping[str, list[str]]] = {}
    for name in plan.shares.clients:
        client = topology.container_by_name.get(name)
        if client is None:
            continue
        row = plan.shares.row(name)
        used = [end for end in service.containers if end.name in row]
        groups = {tier: [end for end in used if _tier(topology, client, end) == tier] for tier in TIERS}
        chosen = {tier: group for tier, group in groups.items() if group} if has_tiers else {"all": used}
        found[name] = {
            tier: [end.name for end in standbys(topology, client, service.containers, used=group)]
            for tier, group in chosen.items()
        }
    return {"standbys": found}


def _place(topology: Topology, container: Container | None) -> dict[str, str] | None:
    if container is None:
        return None
    node = topology.node_by_name[container.node]
    return {"node": node.name, "zone": node.zone, "region": node.region}


def _tier(topology: Topology, client: Container | None, endpoint: Container | None) -> str | None:
    if client is None or endpoint is None:
        return None
    return tier_of(topology.distance(client.node, endpoint.node))
