"""A change of plans wakes the clients that it concerns, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from askew.control_plane import ControlPlane
from askew.mesh_source import SourceStatus
from askew.settings import ServeSettings
from istio.objects import Pod
from mesh.topology import Topology
from tests.xds_server.resources.small_mesh import REVIEWS, plan_for, small_mesh
from xds_server.proxy import Proxy
from xds_server.store import Client


class Still:
    """A source whose mesh does not change."""

    def __init__(self) -> None:
        self.topology: Topology | None = small_mesh()
        self.on_change: Callable[[Topology], None] = lambda topology: None
        self.on_error: Callable[[], None] = lambda: None
        self.status = SourceStatus("still", "test")

    async def start(self) -> None:
        """Have it already."""

    async def run(self) -> None:
        """Wait to be cancelled."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Hold nothing."""

    def services_of_new(self, pod: Pod) -> Sequence[str]:
        """Know of no new pod."""
        return ()


def woken(plane: ControlPlane, *, client: str, share: float) -> set[str]:
    """Apply a plan that has a row of one client; return whose snapshots may be others now."""
    for one in plane.store.clients.values():
        one.is_stale = False
    plan = plan_for(REVIEWS, {"reviews-0": share, "reviews-1": 1.0 - share}, client=client)
    plane._apply(plane.source.topology or Topology(), type(plan)(plane.plan.generation + 1, plan.services))
    return {name for name, one in plane.store.clients.items() if one.is_stale}


async def test_who_has_a_row_before_or_after_is_woken() -> None:
    """A client that comes into the plan, one that stays in it and one that leaves it; who is in neither plan sleeps."""
    plane = ControlPlane(Still(), ServeSettings())
    names = ("page-0.default", "reviews-0.default", "reviews-1.default")
    for name in names:
        plane.store.clients[name] = Client(Proxy(name))

    assert woken(plane, client="page-0", share=0.5) == set(names)  # another mesh
    assert woken(plane, client="page-0", share=0.25) == {"page-0.default"}
    assert woken(plane, client="reviews-1", share=0.25) == {"page-0.default", "reviews-1.default"}
