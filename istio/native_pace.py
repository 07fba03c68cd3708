"""In which steps objects of mode native come and go, so that no route ever leads to a cluster that is not there.

istiod tells a proxy of new subsets and of the routes to them in one push, and the proxy does not wait for the new
clusters to be warm. So a DestinationRule's subsets stand for a while before a VirtualService leads to them, and go a
while after the last route to them is gone; a node that has no endpoint any more leaves the routes at once. No I/O.
Source: Istio, "Traffic Management Best Practices", "Avoid 503 errors while reconfiguring service routes".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from istio.difference import KubeObject, Ref, is_ours, ref_of

REST_S = 5.0
"""A push of istiod's, and the proxies' warming of what is new, are over by then."""

Key = tuple[str, str]  # namespace and name, which rule and routes share
_KINDS = ("DestinationRule", "VirtualService")


class NativePace:
    """``paced`` at each look; ``wake_s`` is when to look again though nothing has changed, None for no need."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._stood_since_s: dict[tuple[Key, str], float] = {}
        self._last_used_s: dict[tuple[Key, str], float] = {}
        self.wake_s: float | None = None
        self.held: frozenset[Ref] = frozenset()  # what is wanted and must not be there yet

    def paced(self, wanted: Iterable[KubeObject], present: Iterable[KubeObject]) -> list[KubeObject]:
        """Return what should be there now on the way from ``present`` to ``wanted``; other kinds as they are wanted."""
        wanted, want, have = list(wanted), _by_key(wanted), _by_key(one for one in present if is_ours(one))
        found = [one for one in wanted if one["kind"] not in _KINDS]
        self._forget(have)
        is_under_way = False
        for key in dict.fromkeys((*want, *have)):
            now = self._step(key, want.get(key, {}), have.get(key, {}))
            found += [one for one in now if one is not None]
            is_under_way |= [one for one in now if one is not None] != list(want.get(key, {}).values())
        self.wake_s = self._now_s() + REST_S if is_under_way else None
        self.held = frozenset(map(ref_of, wanted)).difference(map(ref_of, found))
        return found

    def _step(
        self, key: Key, want: Mapping[str, KubeObject], have: Mapping[str, KubeObject]
    ) -> tuple[KubeObject | None, KubeObject | None]:
        (rule, routes), (old_rule, old_routes) = ([one.get(kind) for kind in _KINDS] for one in (want, have))
        now_s, there, led_to = self._now_s(), _names(old_rule), _used(old_routes)
        for name in led_to:
            self._last_used_s[key, name] = now_s
        rested = {name for name in there if now_s - self._stood_since_s.get((key, name), now_s) >= REST_S}
        if routes is not None and not _used(routes) <= rested | (led_to & there):
            routes = None if old_routes is None else _leading_to(old_routes, _names(rule))
        kept = {
            name
            for name in there - _names(rule)
            if name in _used(routes) or now_s - self._last_used_s.get((key, name), float("-inf")) < REST_S
        }
        rule = _with_subsets_of(rule, old_rule, kept)
        for name in _names(rule):
            self._stood_since_s.setdefault((key, name), now_s)
        return rule, routes

    def _forget(self, have: Mapping[Key, Mapping[str, KubeObject]]) -> None:
        """Give up what is known of subsets that are not there."""
        there = {(key, name) for key, one in have.items() for name in _names(one.get("DestinationRule"))}
        for known in (self._stood_since_s, self._last_used_s):
            for gone in known.keys() - there:
                del known[gone]


def _by_key(objects: Iterable[KubeObject]) -> dict[Key, dict[str, KubeObject]]:
    found: dict[Key, dict[str, KubeObject]] = {}
    for one in objects:
        if one["kind"] in _KINDS:
            ref = ref_of(one)
            found.setdefault((ref.namespace, ref.name), {})[ref.kind] = one
    return found


def _names(rule: KubeObject | None) -> set[str]:
    return set() if rule is None else {str(one.get("name")) for one in _items(rule.get("spec"), "subsets")}


def _used(routes: KubeObject | None) -> set[str]:
    """Return the subsets that routes lead to."""
    spec = None if routes is None else routes.get("spec")
    ways = [way for kind in ("http", "tcp") for route in _items(spec, kind) for way in _items(route, "route")]
    return {subset for way in ways if (subset := _subset(way))}


def _subset(way: Mapping[str, Any]) -> str:
    destination = way.get("destination")
    return str(destination.get("subset") or "") if isinstance(destination, Mapping) else ""


def _items(parent: Any, key: str) -> list[Mapping[str, Any]]:
    """Return the mappings of a list in what a server said.

    Anybody may write objects with our label into a namespace of his own, with redirects or no spec at all. They are not
    wanted, so they go; but first they are read here.
    """
    found = parent.get(key) if isinstance(parent, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def _leading_to(routes: KubeObject, left: set[str]) -> KubeObject | None:
    """Return routes as they are, without the ways to subsets that are to go; weights are relative."""
    spec = dict(routes.get("spec") or {})
    for kind in ("http", "tcp"):
        ways = [
            (one, [way for way in _items(one, "route") if _subset(way) in left | {""}]) for one in _items(spec, kind)
        ]
        spec.pop(kind, None)
        if any(some for _, some in ways):
            spec[kind] = [{**one, "route": some} for one, some in ways if some]
    return _bare(routes, spec)


def _with_subsets_of(rule: KubeObject | None, old: KubeObject | None, kept: set[str]) -> KubeObject | None:
    """Return the rule with those subsets of the old one besides, in the old order: what need not, does not change."""
    if not kept or old is None:
        return rule
    base = old if rule is None else rule
    own = {} if rule is None else {one["name"]: one for one in rule["spec"]["subsets"]}
    before = [(str(one.get("name")), one) for one in _items(old["spec"], "subsets")]
    stay = [own.pop(name, one) for name, one in before if name in kept | own.keys()]
    return _bare(base, {**base["spec"], "subsets": [*stay, *own.values()]})


def _bare(one: KubeObject, spec: Mapping[str, Any]) -> KubeObject:
    """Return an object of the server's as we would write it."""
    metadata = {key: one["metadata"][key] for key in ("name", "namespace", "labels")}
    return {"apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": metadata, "spec": dict(spec)}
