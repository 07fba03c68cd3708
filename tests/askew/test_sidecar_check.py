"""What a replica makes of who has come: what it shows, what it hands over, and what it leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import CollectorRegistry

from askew.control_plane import ControlPlane
from askew.kubernetes_source import KubernetesSource
from askew.replication.replicas import Replicas
from askew.replication.settings import ReplicationSettings
from askew.replication.wire import Decided, Reign
from askew.settings import ServeSettings
from askew.sidecar_check import FRESH_S, MOST_NAMES, SidecarCheck
from estimators.known_calls import KnownCalls
from istio.integration import Integration
from istio.self_check import HEAR_S, LIMIT_S, RECONNECT_S, CheckMemory, TakenBack
from istio.service_piece import TopologySettings
from istio.settings import KubernetesSettings
from istio.topology import topology_of
from mesh.telemetry import Telemetry
from mesh.topology import Call, ContainerName, ServiceName
from tests.istio.cluster_objects import Body, endpoint, endpoint_slice, namespace, node, pod, service
from tests.istio.seen import cluster_of
from xds_server.metrics import XdsMetrics
from xds_server.settings import XdsSettings

SHOP, TILL, WEB = ServiceName("shop.default"), ServiceName("till.default"), ServiceName("workload:web.default")
BOTH = frozenset((SHOP, TILL))
LONG_S = LIMIT_S + RECONNECT_S
READY_S = 1767225600.0


@dataclass
class Election:
    """Decided by a test."""

    is_leader: bool = True
    holder: str = ""
    term: int = 1


@dataclass
class World:
    """A replica that is not running, and time that stands still."""

    plane: ControlPlane
    source: KubernetesSource
    election: Election
    check: SidecarCheck
    clock: list[float]
    asked: dict[ContainerName, frozenset[ServiceName]] = field(default_factory=dict)

    def put(self, *bodies: Body) -> None:
        """Let the cluster be the nodes, two annotated Services with a pod each, and these."""
        self.source.cluster = cluster_of(
            node("n1"),
            *(service(name, routing="uniform") for name in ("shop", "till")),
            *(pod(f"{name}-1", ip=f"10.0.1.{i}") for i, name in enumerate(("shop", "till"))),
            *(endpoint_slice(endpoint(f"10.0.1.{i}", f"{name}-1"), of=name) for i, name in enumerate(("shop", "till"))),
            *bodies,
        )
        self.source.topology = topology_of(self.source.cluster, TopologySettings()).topology

    def knows(self, *servers: ServiceName) -> None:
        """Let it be known that ``web`` calls these."""
        calls = KnownCalls(calls={Call(WEB, server): 0.0 for server in servers})
        self.plane.memory = replace(self.plane.memory, calls=calls)

    def after(self, seconds: float, applied: frozenset[ServiceName] = BOTH) -> bool:
        """Look after so long; ours are all the filters."""
        self.clock[0] += seconds
        self.check.applied(applied)
        return self.check.look(written=applied)

    def gauge(self) -> dict[str, float]:
        """Return the metric by Service."""
        (metric,) = self.check.collect()
        return {one.labels["service"]: one.value for one in metric.samples}


def web(number: int, **more: str) -> Body:
    """Return a client's pod."""
    return pod(f"web-{number}", ip=f"10.0.2.{number}", owner=("StatefulSet", "web"), **more)


@pytest.fixture
def world() -> Iterator[World]:
    settings = ServeSettings()
    source = KubernetesSource(KubernetesSettings())
    plane = ControlPlane(source, settings)
    replication = ReplicationSettings(name="askew-1")
    metrics = XdsMetrics(CollectorRegistry())
    plane.replicas = Replicas(replication, XdsSettings(), metrics, on_decided=lambda decided: None)
    election, clock = Election(), [1000.0]
    plane.replicas.take_part(election)
    check = SidecarCheck(plane, source, settings, now_s=lambda: clock[0], epoch_s=lambda: READY_S + clock[0])
    made = World(plane, source, election, check, clock)
    plane.store.sidecars = lambda: made.asked  # type: ignore[method-assign]
    made.put(web(1), web(2))
    return made


def come(world: World, *names: str, to: frozenset[ServiceName] = BOTH) -> None:
    """Let these sidecars, and no others, subscribe."""
    world.asked = {ContainerName(f"{name}.default"): to for name in names}


def test_a_known_caller_that_stays_away_gives_the_service_back(world: World) -> None:
    """The other Service, which it is not known to call, stays ours; the page says who it was."""
    world.knows(SHOP)
    come(world, "web-1")
    world.after(0.0)
    waiting = world.check.page()["waiting_for_sidecars"]
    world.after(LIMIT_S)

    assert waiting == [SHOP]
    assert world.check.check.unheard == {SHOP}
    assert list(world.check.page()["sidecars_did_not_come"]) == [SHOP]
    assert "default/web-2" in world.check.page()["sidecars_did_not_come"][SHOP]


def test_those_that_merely_might_call_are_shown_and_decide_nothing(world: World) -> None:
    """Nobody knows who calls. A sidecar of the same workload is missing all the same, once it has had its time."""
    world.put(web(1), web(2), pod("idle-1", ip="10.0.3.1"))
    come(world, "web-1")
    world.after(0.0)
    world.after(LONG_S - 1.0)
    early = world.gauge()
    news = world.after(1.0) or world.after(5.0)

    assert world.check.check.unheard == frozenset()
    assert (early, news) == ({SHOP: 0.0, TILL: 0.0}, True)
    assert world.gauge() == {SHOP: 1.0, TILL: 1.0}
    assert world.check.page()["sidecars"][SHOP] == {
        "expected": 2, "came": 1, "missing": ["web-2.default"], "missing_in_all": 1, "others": 3,
    }  # fmt: skip


def test_a_long_list_is_cut(world: World) -> None:
    """The number says how many there are."""
    world.put(*(web(number) for number in range(MOST_NAMES + 6)))
    come(world, "web-0")
    for _ in range(3):
        world.after(LONG_S)
    found = world.check.page()["sidecars"][SHOP]

    assert (len(found["missing"]), found["missing_in_all"]) == (MOST_NAMES, MOST_NAMES + 5)


def test_who_comes_late_is_missing_no_more(world: World) -> None:
    """That is news, and ends the alert."""
    come(world, "web-1")
    world.after(0.0)
    world.after(LONG_S)
    before = dict(world.check.missing)
    come(world, "web-1", "web-2")

    assert world.after(5.0)
    assert (set(before), world.check.missing, set(world.gauge().values())) == (BOTH, {}, {0.0})


def test_while_a_replica_is_not_heard_nobody_new_is_missing(world: World) -> None:
    """Who is missing here may have come there. The page names it."""
    come(world, "web-1")
    world.after(0.0)
    copies = [namespace("askew-system"), pod("askew-2", ip="10.0.4.2", namespace="askew-system")]
    slice_ = endpoint_slice(
        endpoint("10.0.4.1", "askew-1", namespace="askew-system"),
        endpoint("10.0.4.2", "askew-2", namespace="askew-system"),
        of="askew-xds",
        namespace="askew-system",
    )
    world.put(web(1), web(2), *copies, slice_)
    world.after(LONG_S)

    assert world.check.page()["replicas_not_heard"] == ["askew-2"]
    assert world.check.missing == {}
    world.check.leadership_changed(leads=False)
    assert world.check.page()["replicas_not_heard"] == []  # only who leads can say


def test_gateways_are_waited_for_where_they_are_steered(world: World) -> None:
    """Elsewhere they keep Istio's endpoints, and never come."""
    door = web(2, spec={"containers": [{"name": "istio-proxy", "args": ["proxy", "router"]}]})  # type: ignore[arg-type]
    world.put(web(1), door)
    world.knows(SHOP)
    come(world, "web-1")
    world.after(0.0)
    left = world.check.check.waiting
    to = Integration(gateways="steer")
    steering = SidecarCheck(world.plane, world.source, replace(ServeSettings(), istio=to), now_s=lambda: 1000.0)
    steering.applied(BOTH)
    steering.look(written=BOTH)

    assert (left, steering.check.waiting) == (frozenset(), {SHOP})


def test_who_follows_judges_nothing_and_tells_who_came(world: World) -> None:
    """At once, not with its next tick."""
    world.election.is_leader = False
    assert world.plane.replicas is not None
    world.plane.replicas.report(Telemetry(time_s=1.0), {})
    world.plane.replicas.follower_side._news.clear()
    come(world, "web-1")
    world.after(LIMIT_S)
    world.after(LIMIT_S)

    assert world.plane.replicas.follower_side._news.is_set()
    assert (world.check.check.unheard, world.gauge()) == (frozenset(), {})


def heard(world: World, memory: CheckMemory) -> None:
    """Let a leader's tick come."""
    world.check.take(Decided("askew-2", Reign(1, 1), None, None, None, memory))


def test_a_new_leader_begins_where_the_last_one_was(world: World) -> None:
    """It knows what was taken back before its first look, and whom the last one has seen."""
    world.knows(SHOP)
    began_s = READY_S + world.clock[0] - LIMIT_S
    came = frozenset((ContainerName("web-2.default"),))
    back = {TILL: TakenBack(READY_S + 5000.0, "no sidecar has asked")}
    heard(world, CheckMemory(began_at_s={SHOP: began_s}, came={SHOP: came}, taken_back=back))
    world.check.leadership_changed(leads=True)
    at_once = world.check.check.unheard
    come(world, "web-1", to=frozenset((SHOP,)))
    world.after(0.0, frozenset((SHOP,)))

    assert at_once == {TILL}
    assert world.check.check.settled(since_s=world.clock[0]) == {SHOP}


def test_what_was_handed_over_long_ago_is_not_believed(world: World) -> None:
    """Since then anything may have happened."""
    heard(world, CheckMemory(settled=BOTH))
    world.clock[0] += FRESH_S
    world.check.leadership_changed(leads=True)
    world.after(0.0)

    assert world.check.check.waiting == BOTH


def test_who_leads_again_goes_on(world: World) -> None:
    """An outage of the API server for some seconds is no new beginning: what stood stays, though one is missing now."""
    world.knows(SHOP)
    come(world, "web-1", "web-2")
    world.after(0.0)
    world.check.leadership_changed(leads=False)
    between = world.check.page()["sidecars"]
    come(world, "web-1")
    world.check.leadership_changed(leads=True)
    for _ in range(3):
        world.after(LIMIT_S)

    assert (between, world.check.check.unheard) == ({}, frozenset())


def test_a_new_leader_waits_until_it_knows_what_is_applied(world: World) -> None:
    """Else it would forget what was handed over."""
    heard(world, CheckMemory(settled=BOTH))
    world.check.leadership_changed(leads=True)
    assert not world.check.look(written=frozenset())
    world.after(HEAR_S)

    assert world.check.check.settled(since_s=world.clock[0]) == BOTH


def test_the_metrics_say_who_leads(world: World) -> None:
    """One of several replicas says so while it is elected; one that is alone always leads."""

    def leads() -> float | None:
        return world.plane.registry.get_sample_value("askew_leads")

    found = []
    for is_leader in (True, False):
        world.election.is_leader = is_leader
        found.append(leads())
    world.plane.replicas = None

    assert [*found, leads()] == [1.0, 0.0, 1.0]
