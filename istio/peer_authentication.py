"""Where PeerAuthentications switch mTLS off: a workload's own before its namespace's before the mesh's.

Source: Istio reference, PeerAuthentication: the oldest of several equally near ones counts; UNSET inherits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from istio.objects import PeerAuthentication, Strings


class MtlsModes:
    """The mode of any port of any workload."""

    def __init__(self, rules: Iterable[PeerAuthentication], root_namespace: str) -> None:
        self._root = root_namespace
        self._of_workloads: dict[str, list[PeerAuthentication]] = {}
        self._of_namespaces: dict[str, str] = {}
        for rule in sorted(rules, key=lambda one: (one.created, one.namespace, one.name)):
            if rule.selector:
                self._of_workloads.setdefault(rule.namespace, []).append(rule)
            else:
                self._of_namespaces.setdefault(rule.namespace, _said(rule.mode))

    def of(self, namespace: str, labels: Strings) -> tuple[str, Mapping[int, str]]:
        """Return a workload's mode (empty: PERMISSIVE, Istio's default) and those of ports that have another."""
        inherited = self._of_namespaces.get(namespace) or self._of_namespaces.get(self._root, "")
        # A rule with a selector in the root namespace is about the root namespace's workloads only.
        for rule in self._of_workloads.get(namespace, ()):
            if all(labels.get(key) == value for key, value in rule.selector.items()):
                mode = _said(rule.mode) or inherited
                return mode, {port: _said(one) or mode for port, one in rule.ports}
        return inherited, {}


def _said(mode: str) -> str:
    return "" if mode == "UNSET" else mode
