"""The composition root of ``askew serve --kubernetes``: read it from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from askew.control_plane import ControlPlane
from askew.guard import guarded
from askew.kubernetes_source import KubernetesSource
from askew.settings import ServeSettings
from istio.cluster import Cluster
from istio.integration import Integration
from istio.steering import Desired, Steering
from istio.wanted import least_request, wanted_objects
from mesh.topology import ServiceName, Topology


class BesideKubernetes:
    """One replica: watches a cluster, serves its sidecars, and keeps our objects in it."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.plane: ControlPlane | None = None

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled. Raises CommandError where there is no cluster to connect to, or a port is taken.

        The xDS port opens when the whole cluster has been seen, so that no sidecar is told that it has no endpoints;
        nothing is written to the cluster before it is open.
        """
        settings = self.settings
        source = KubernetesSource(settings.kubernetes)
        plane = self.plane = ControlPlane(source, settings)
        async with asyncio.TaskGroup() as parts:
            is_open = asyncio.Event()
            parts.create_task(plane.run(on_ready=is_open.set), name="control-plane")
            await is_open.wait()
            assert source.client is not None
            steering = Steering(source.client, settings.istio, lambda: desired(plane, source, settings.istio))
            source.on_seen = steering.note_change
            parts.create_task(guarded("steering", steering.run()), name="steering")
            on_ready()


def others_than_least_request(
    cluster: Cluster, topology: Topology, to: Integration
) -> Mapping[ServiceName, tuple[str, ...]]:
    """Return the managed Services of which not all clusters are balanced by LEAST_REQUEST, with those that are."""
    managed = [service.name for service in topology.services if service.policy.managed]
    return least_request(cluster, managed, cluster_domain=to.cluster_domain)


def desired(plane: ControlPlane, source: KubernetesSource, to: Integration) -> Desired:
    """Return what the cluster should hold of ours, by what was seen and planned last."""
    topology = source.topology or Topology()
    others = others_than_least_request(source.cluster, topology, to)
    refused = {name: [str(one) for one in found if one.refuses] for name, found in source.findings.items()}
    return Desired(
        wanted_objects(to, topology, plane.plan, least_request=others),
        {name: "; ".join(found) for name, found in refused.items() if found},
    )
