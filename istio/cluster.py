"""What is known of a cluster: the pruned objects with their indices, and which Services a change concerns. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

from istio.integration import MANAGED_BY, OWNER
from istio.kinds import (
    DESTINATION_RULES,
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PEER_AUTHENTICATIONS,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Kind,
)
from istio.objects import (
    NETWORK,
    DestinationRule,
    EndpointSlice,
    Key,
    Namespace,
    Node,
    PeerAuthentication,
    Pod,
    Pruned,
    Service,
    VirtualService,
)


class Cluster:
    """The objects by kind and key. ``put`` is the only way in; ``take_stale`` says what must be looked at again."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.nodes: dict[str, Node] = {}
        self.pods: dict[Key, Pod] = {}
        self.services: dict[Key, Service] = {}
        self.destination_rules: dict[Key, DestinationRule] = {}
        self.virtual_services: dict[Key, VirtualService] = {}
        self.peer_authentications: dict[Key, PeerAuthentication] = {}
        self.absent: set[Kind] = set()
        """Kinds that are not installed."""
        self._slices: dict[Key, EndpointSlice] = {}
        self._slices_of: defaultdict[Key, dict[str, EndpointSlice]] = defaultdict(dict)
        self._services_of: defaultdict[Key, set[Key]] = defaultdict(set)
        self._stale: set[Key] = set()
        self._all_stale = True
        self._stale_pods: set[Key] = set()

    def slices_of(self, service: Key) -> list[EndpointSlice]:
        """Return a Service's slices by name."""
        slices = self._slices_of.get(service)
        return [slices[name] for name in sorted(slices)] if slices else []

    def services_of(self, pod: Key) -> set[Key]:
        """Return the Services whose slices name a pod, ready or not."""
        return self._services_of.get(pod, set())

    @property
    def has_istio(self) -> bool:
        return DESTINATION_RULES not in self.absent

    def put(self, kind: Kind, key: Key, new: Pruned | None) -> None:
        """Take in an object, or that it is gone (None)."""
        if kind == ENDPOINT_SLICES:
            self._put_slice(key, cast("EndpointSlice | None", new))
        elif kind == PODS:
            _set(self.pods, key, new)
            self._stale_pods.add(key)
            self._stale |= self.services_of(key)
        elif kind == SERVICES:
            both = self.services.get(key), cast("Service | None", new)
            leads_to_networks = any(one and NETWORK in one.labels for one in both)
            _set(self.services, key, new)
            self._concerns(key)
            self._all_stale |= leads_to_networks  # a gateway between networks concerns all
        elif kind == NODES:
            old, node = self.nodes.get(key[1]), cast("Node | None", new)
            _set(self.nodes, key[1], new)
            # Where a node is concerns all; whether it is ready, no topology.
            self._all_stale |= old is None or node is None or old.labels != node.labels
        elif kind == NAMESPACES:
            _set(self.namespaces, key[1], new)
            self._all_stale = True
        else:
            stored: dict[Kind, dict[Any, Any]] = {
                DESTINATION_RULES: self.destination_rules,
                VIRTUAL_SERVICES: self.virtual_services,
                PEER_AUTHENTICATIONS: self.peer_authentications,
            }
            # What we wrote ourselves (mode native) says nothing of what others want; it would refuse its own Service.
            is_ours = isinstance(new, DestinationRule | VirtualService) and new.labels.get(MANAGED_BY) == OWNER
            _set(stored[kind], key, None if is_ours else new)
            self._all_stale = True

    def set_absent(self, kind: Kind, *, absent: bool) -> None:
        """Note whether a kind is installed."""
        if absent != (kind in self.absent):
            (self.absent.add if absent else self.absent.remove)(kind)
            self._all_stale = True

    def take_stale(self) -> tuple[set[Key] | None, set[Key]]:
        """Return the Services and pods that changes concern since the last call; None for all Services."""
        stale, pods = (None if self._all_stale else self._stale), self._stale_pods
        self._stale, self._stale_pods, self._all_stale = set(), set(), False
        return stale, pods

    def _put_slice(self, key: Key, new: EndpointSlice | None) -> None:
        old = self._slices.get(key)
        if old is not None:
            self._slices_of[key[0], old.service].pop(key[1], None)
            self._unlink(old)
        _set(self._slices, key, new)
        if new is not None and new.service:
            self._slices_of[key[0], new.service][key[1]] = new
            for pod in _pods(new):
                self._services_of[pod].add((new.namespace, new.service))
        for one in (old, new):
            if one is not None and one.service:
                self._concerns((one.namespace, one.service))
                self._stale_pods.update(_pods(one))
                # A pod's home may be another now: what else it serves is looked at again.
                self._stale.update(*(self.services_of(pod) for pod in _pods(one)))

    def _unlink(self, old: EndpointSlice) -> None:
        service = (old.namespace, old.service)
        kept = {pod for one in self._slices_of[service].values() for pod in _pods(one)}
        for pod in set(_pods(old)) - kept:
            served = self._services_of.get(pod)
            if served is not None:
                served.discard(service)
                if not served:
                    del self._services_of[pod]
        if not self._slices_of[service]:
            del self._slices_of[service]

    def _concerns(self, service: Key) -> None:
        """A change of a Service concerns it and every Service that shares a pod with it."""
        self._stale.add(service)
        for one in self._slices_of.get(service, {}).values():
            for pod in _pods(one):
                self._stale |= self.services_of(pod)
                self._stale_pods.add(pod)


def _set(store: dict[Any, Any], key: object, new: object) -> None:
    if new is None:
        store.pop(key, None)
    else:
        store[key] = new


def _pods(one: EndpointSlice) -> Iterator[Key]:
    return (endpoint.pod for endpoint in one.endpoints if endpoint.pod is not None)
