"""A sidecar's inbound side in the lab: one filter chain per source node, so that Envoy counts what crosses nodes.

::

    caller's address      filter chain (statistics)         what it adds
    127.<n1>.0.0/16  ───▶ http.from_n1.…                     nothing, or the cross-node delay
    127.<n2>.0.0/16  ───▶ http.from_n2.…                     nothing, or the cross-node delay
    anything else    ───▶ http.from_elsewhere.…              nothing

A request from another node waits ``cross_node_delay_ms`` in the fault filter: the price of a network that one machine
does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_fault_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import duration_pb2, wrappers_pb2
from google.protobuf.json_format import MessageToDict

from mesh.topology import Container
from xds_server.resources.clusters import inbound_cluster_bytes
from xds_server.resources.listeners import HCM_NAME, inbound_manager
from xds_server.resources.names import inbound_cluster

INBOUND_KEY = "ASKEW_INBOUND"  # node metadata: who brings the inbound listener
ELSEWHERE = "elsewhere"


def stat_prefix(node: str) -> str:
    """Return the statistics prefix of the chain for one source node.

    >>> stat_prefix("n1")
    'from_n1'
    """
    return f"from_{node}"


def add_inbound(
    bootstrap: dict[str, Any], container: Container, *, node_prefixes: Mapping[str, str], cross_node_delay_ms: int
) -> dict[str, Any]:
    """Return ``bootstrap`` with static inbound listeners of ``container``, and the word to Askew to send none."""
    metadata = bootstrap["node"]["metadata"] | {INBOUND_KEY: "bootstrap"}
    static = bootstrap["static_resources"]
    listeners, clusters = list(static.get("listeners", ())), list(static.get("clusters", ()))
    for number, app_port in container.app_ports.items():
        cluster = _cluster(container, number, app_port)
        delays = {node: 0 if node == container.node else cross_node_delay_ms for node in node_prefixes}
        listeners.append(_listener(container, number, cluster["name"], node_prefixes, delays))
        clusters.append(cluster)
    return bootstrap | {
        "node": bootstrap["node"] | {"metadata": metadata},
        "static_resources": static | {"listeners": listeners, "clusters": clusters},
    }


def _cluster(container: Container, number: int, app_port: int) -> dict[str, Any]:
    name = inbound_cluster(number)
    body = inbound_cluster_bytes(name, "http", address=container.address, app_port=app_port)
    return _as_dict(cluster_pb2.Cluster.FromString(body))


def _listener(
    container: Container, number: int, cluster: str, prefixes: Mapping[str, str], delays: Mapping[str, int]
) -> dict[str, Any]:
    chains = [
        _chain(stat_prefix(node), cluster, delay_ms=delays[node], source=prefix) for node, prefix in prefixes.items()
    ]
    socket = address_pb2.SocketAddress(address=container.address, port_value=container.ports[number])
    listener = listener_pb2.Listener(
        name=f"inbound|{number}",
        address=address_pb2.Address(socket_address=socket),
        filter_chains=chains,
        default_filter_chain=_chain(stat_prefix(ELSEWHERE), cluster, delay_ms=0),
    )
    return _as_dict(listener)


def _chain(prefix: str, cluster: str, *, delay_ms: int, source: str = "") -> listener_components_pb2.FilterChain:
    manager = inbound_manager(prefix, cluster)
    if delay_ms:
        _insert_delay(manager, delay_ms)
    network_filter = listener_components_pb2.Filter(name=HCM_NAME)
    network_filter.typed_config.Pack(manager, deterministic=True)
    chain = listener_components_pb2.FilterChain(name=prefix, filters=[network_filter])
    if source:
        address, _, length = source.partition("/")
        chain.filter_chain_match.source_prefix_ranges.append(
            address_pb2.CidrRange(address_prefix=address, prefix_len=wrappers_pb2.UInt32Value(value=int(length)))
        )
    return chain


def _insert_delay(manager: hcm_pb2.HttpConnectionManager, delay_ms: int) -> None:
    fault = fault_pb2.HTTPFault(
        delay=common_fault_pb2.FaultDelay(
            fixed_delay=duration_pb2.Duration(seconds=delay_ms // 1000, nanos=delay_ms % 1000 * 1_000_000),
            percentage=percent_pb2.FractionalPercent(numerator=100),
        )
    )
    fault_filter = hcm_pb2.HttpFilter(name="envoy.filters.http.fault")
    fault_filter.typed_config.Pack(fault, deterministic=True)
    others = list(manager.http_filters)
    del manager.http_filters[:]
    manager.http_filters.extend([fault_filter, *others])


def _as_dict(message: Any) -> dict[str, Any]:
    result: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return result
