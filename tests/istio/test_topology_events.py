"""Whatever happens in a cluster, in whatever order it is told: the topology is that of a fresh list."""

from __future__ import annotations

import random

import pytest

from istio.cluster import Cluster
from istio.kinds import DESTINATION_RULES
from istio.objects import Key
from istio.pruning import key_of, prune
from istio.service_piece import TopologySettings
from istio.topology import TopologyBuilder, topology_of
from tests.istio.cluster_objects import (
    Body,
    destination_rule,
    endpoint,
    endpoint_slice,
    namespace,
    node,
    peer_authentication,
    pod,
    service,
    virtual_service,
)
from tests.istio.seen import KINDS

EVENTS_IN_A_RUN, RUNS, CHECK_EVERY = 1000, 10, 10
SPACES, NAMES, PODS = ("default", "shop"), ("a", "b", "c"), tuple(f"p{number}" for number in range(8))


class World:
    """A cluster in which anything may happen next; most of it odd, some of it wrong."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.objects: dict[tuple[str, Key], Body] = {}

    def event(self) -> tuple[str, Key, Body | None]:
        """Return the kind and key of what changes, and what it is now (None: deleted)."""
        pick = self.chance.choice
        if self.objects and self.chance.random() < 0.25:
            kind, key = pick(sorted(self.objects))
            del self.objects[kind, key]
            return kind, key, None
        makers = [self._service, self._service, self._slice, self._slice, self._slice, self._pod, self._pod, self._pod]
        body = pick([*makers, self._node, self._namespace, self._rule, self._peers, self._route])()
        self.objects[body["kind"], key_of(body)] = body
        return body["kind"], key_of(body), body

    def _service(self) -> Body:
        pick = self.chance.choice
        ours = pick(({}, {"routing": "uniform"}, {"routing": "local-first", "mode": "observe"}, {"routing": "wrong"}))
        spec = pick(({}, {}, {"clusterIP": "None"}, {"publishNotReadyAddresses": True}, {"ipFamilies": ["IPv6"]}))
        labels = pick(({}, {}, {}, {"topology.istio.io/network": "other"}))
        ports = pick((None, [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}]))
        return service(pick(NAMES), namespace=pick(SPACES), spec=spec, labels=labels, ports=ports, **ours)

    def _slice(self) -> Body:
        pick, space = self.chance.choice, self.chance.choice(SPACES)
        ready = [
            endpoint(
                f"10.0.{SPACES.index(space)}.{PODS.index(name)}",
                pick((name, name, name, "")),
                on=pick(("n1", "n2", "unknown")),
                namespace=space,
                ready=self.chance.random() < 0.8,
                terminating=self.chance.random() < 0.1,
            )
            for name in self.chance.sample(PODS, self.chance.randint(0, 4))
        ]
        ports = pick(({"http": 8080}, {"http": 8080, "tcp": 8081}))
        family = pick(("IPv4", "IPv4", "IPv6"))
        of = pick(NAMES)
        # Now and then a slice of one name goes to another Service, as nobody should do.
        return endpoint_slice(*ready, of=of, name=pick((of, of, "x")), namespace=space, ports=ports, family=family)

    def _pod(self) -> Body:
        pick, name, space = self.chance.choice, self.chance.choice(PODS), self.chance.choice(SPACES)
        labels = pick(({}, {"version": "v1"}, {"version": "v2", "app": "a"}, {"topology.istio.io/network": "net"}))
        ours = pick(({}, {}, {"capacity": "2"}, {"capacity": "wrong"}))
        ip = pick((f"10.0.{SPACES.index(space)}.{PODS.index(name)}", f"10.1.0.{PODS.index(name)}"))
        body = pod(
            name,
            on=pick(("n1", "n2")),
            ip=ip,
            namespace=space,
            labels=labels,
            sidecar=pick((True, True, False)),
            **ours,
        )
        body["status"]["phase"] = pick(("Running", "Running", "Running", "Succeeded"))
        return body

    def _node(self) -> Body:
        return node(self.chance.choice(("n1", "n2", "n3")), zone=self.chance.choice(("", "z1", "z2")))

    def _namespace(self) -> Body:
        ours = self.chance.choice(({}, {"mode": "off"}, {"mode": "observe"}, {"mode": "wrong"}))
        return namespace(self.chance.choice((*SPACES, "istio-system")), **ours)

    def _rule(self) -> Body:
        pick = self.chance.choice
        spec = pick(
            (
                {"subsets": [{"name": "v1", "labels": {"version": pick(("v1", "v2"))}}]},
                {"trafficPolicy": {"outlierDetection": {}}},
                {"trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
            )
        )
        return destination_rule(spec, name=pick(("r", "s")), namespace=pick(SPACES), host=pick(("a", "b", "*.local")))

    def _peers(self) -> Body:
        pick = self.chance.choice
        selector = pick((None, {"version": "v1"}))
        return peer_authentication(pick(("STRICT", "DISABLE", "UNSET")), namespace=pick(SPACES), selector=selector)

    def _route(self) -> Body:
        return virtual_service(self.chance.choice(NAMES), namespace=self.chance.choice(SPACES))


@pytest.mark.parametrize("seed", range(RUNS))
def test_random_events_leave_the_topology_of_a_fresh_list(seed: int) -> None:
    """1,000 events a run, ten runs: what was built piece by piece is what one list in another order gives."""
    world, settings = World(seed), TopologySettings()
    cluster = Cluster()
    builder = TopologyBuilder(cluster, settings)
    for step in range(1, EVENTS_IN_A_RUN + 1):
        kind, key, body = world.event()
        cluster.put(KINDS[kind], key, None if body is None else prune(KINDS[kind], body))
        if step % 97 == 0:
            cluster.set_absent(DESTINATION_RULES, absent=DESTINATION_RULES not in cluster.absent)
        if world.chance.random() < 0.3:
            builder.build()
        if step % CHECK_EVERY == 0:
            fresh = Cluster()
            for (name, where), present in world.chance.sample(
                sorted(world.objects.items(), key=str), len(world.objects)
            ):
                fresh.put(KINDS[name], where, prune(KINDS[name], present))
            for absent in cluster.absent:
                fresh.set_absent(absent, absent=True)
            listed = topology_of(fresh, settings)
            assert builder.build() == listed
            assert builder.build() is builder.build()
