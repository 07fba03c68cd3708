"""What we write of Istio's kinds has Istio's fields and no others; a field that istiod does not know may just be lost.

The lists hold every field that Istio's reference has on the places where we write (``networking.istio.io``: EnvoyFilter
v1alpha3, DestinationRule and VirtualService v1). What is below ``patch.value`` is
Envoy's, and judged by its protos in ``test_envoy_filters.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from istio.envoy_filters import render
from istio.integration import MODES, Integration, Mode, SteeredService
from istio.native import render_native
from mesh.topology import ServiceName
from tests.istio.test_native import SHOP, TOPOLOGY, plan

LEAF: None = None
ANY: dict[str, Any] = {"*": LEAF}
CLUSTER_MATCH = {"portNumber": LEAF, "service": LEAF, "subset": LEAF, "name": LEAF}
MATCH = {"context": LEAF, "proxy": ANY, "listener": ANY, "routeConfiguration": ANY, "cluster": CLUSTER_MATCH}
PATCH = {"operation": LEAF, "value": ANY, "filterClass": LEAF}
DESTINATION = {"host": LEAF, "subset": LEAF, "port": {"number": LEAF}}
TRAFFIC_POLICY = {
    "loadBalancer": {
        "simple": LEAF,
        "consistentHash": ANY,
        "localityLbSetting": ANY,
        "warmupDurationSecs": LEAF,
        "warmup": ANY,
    },
    "connectionPool": ANY,
    "outlierDetection": ANY,
    "tls": ANY,
    "portLevelSettings": ANY,
    "tunnel": ANY,
    "proxyProtocol": ANY,
    "retryBudget": ANY,
}
HTTP_MATCH = {
    "name": LEAF,
    "port": LEAF,
    "sourceLabels": ANY,
    "sourceNamespace": LEAF,
    "gateways": LEAF,
} | dict.fromkeys(
    ("uri", "scheme", "method", "authority", "headers", "queryParams", "ignoreUriCase", "withoutHeaders", "statPrefix"),
    ANY,
)
TCP_MATCH = {"destinationSubnets": LEAF, "port": LEAF, "sourceLabels": ANY, "gateways": LEAF, "sourceNamespace": LEAF}
HTTP_WAYS = {"destination": DESTINATION, "weight": LEAF, "headers": ANY}
HTTP = {"name": LEAF, "timeout": LEAF, "match": HTTP_MATCH, "route": HTTP_WAYS} | dict.fromkeys(
    (
        "redirect",
        "directResponse",
        "delegate",
        "rewrite",
        "retries",
        "fault",
        "mirror",
        "mirrors",
        "corsPolicy",
        "headers",
    ),
    ANY,
)
SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("networking.istio.io/v1alpha3", "EnvoyFilter"): {
        "workloadSelector": ANY,
        "targetRefs": ANY,
        "priority": LEAF,
        "configPatches": {"applyTo": LEAF, "match": MATCH, "patch": PATCH},
    },
    ("networking.istio.io/v1", "DestinationRule"): {
        "host": LEAF,
        "trafficPolicy": TRAFFIC_POLICY,
        "subsets": {"name": LEAF, "labels": ANY, "trafficPolicy": TRAFFIC_POLICY},
        "exportTo": LEAF,
        "workloadSelector": ANY,
    },
    ("networking.istio.io/v1", "VirtualService"): {
        "hosts": LEAF,
        "gateways": LEAF,
        "http": HTTP,
        "tls": ANY,
        "tcp": {"match": TCP_MATCH, "route": {"destination": DESTINATION, "weight": LEAF}},
        "exportTo": LEAF,
    },
}
WORDS = {
    "applyTo": {"CLUSTER"},
    "context": {"SIDECAR_OUTBOUND", "GATEWAY"},
    "operation": {"ADD", "MERGE"},
    "simple": {"ROUND_ROBIN", "LEAST_REQUEST"},
}
"""Of Istio's enumerations, the words that we may need."""


def unknown(found: Any, allowed: dict[str, Any] | None, path: str = "spec") -> Iterator[str]:
    """Yield the path of every field, and every word of ``WORDS``, that Istio does not know."""
    if isinstance(found, list):
        for one in found:
            yield from unknown(one, allowed, path)
    elif isinstance(found, dict) and allowed is not ANY:
        for key, value in found.items():
            inside = f"{path}.{key}"
            if allowed is LEAF or key not in allowed:
                yield inside
            elif key in WORDS and value not in WORDS[key]:
                yield f"{inside}: {value}"
            else:
                yield from unknown(value, allowed[key], inside)


def objects(mode: Mode) -> list[dict[str, Any]]:
    """Return all of Istio's kinds that a mode writes, gateways steered as well."""
    if mode == "native":
        return render_native(TOPOLOGY, plan(), SHOP, cluster_domain="cluster.local")
    services = [
        SteeredService(ServiceName("a.x")),
        SteeredService(ServiceName("b.x"), ("outbound|80||b.x.svc.cluster.local",)),
    ]
    return render(replace(Integration(gateways="steer"), mode=mode), services)


@pytest.mark.parametrize("mode", MODES)
def test_every_field_is_one_of_istios(mode: Mode) -> None:
    """In every mode."""
    found = objects(mode)
    assert found
    for one in found:
        assert list(unknown(one["spec"], SPECS[one["apiVersion"], one["kind"]])) == [], one["metadata"]["name"]


def test_a_misspelt_field_is_found() -> None:
    """At any depth, and a word that is none."""
    [filtered] = render(Integration(mode="googleGrpc"), [SteeredService(ServiceName("a.x"))])
    spec = filtered["spec"]
    spec["prioritiy"] = 3
    spec["configPatches"][0]["match"]["cluster"]["port"] = 80
    spec["configPatches"][0]["match"]["context"] = "SIDECAR"

    assert sorted(unknown(spec, SPECS["networking.istio.io/v1alpha3", "EnvoyFilter"])) == [
        "spec.configPatches.match.cluster.port",
        "spec.configPatches.match.context: SIDECAR",
        "spec.prioritiy",
    ]
