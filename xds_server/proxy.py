"""A proxy as it introduces itself: the ``node`` of its first request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2

from xds_server.errors import RefuseStreamError
from xds_server.resources.config_source import TRANSPORT_METADATA, TRANSPORTS, Transport

LONGEST_ID = 512
LONGEST_TEXT, MOST_TEXTS = 1_024, 256
"""Of what else a node says of itself: longer texts are cut, or left out of its metadata, and so are more of them."""
INBOUND_METADATA = "ASKEW_INBOUND"  # "bootstrap": the sidecar brings its inbound listener along
READ_METADATA = ("NODE_NAME", INBOUND_METADATA, TRANSPORT_METADATA)
# Envoy's documentation: "TTL" spells the second one in the first way, "Well Known Client Features", Envoy and gRPC in
# the other.
TTL_FEATURE = "xds.config.supports-resource-ttl"
WRAPPER_FEATURES = frozenset(("xds.config.supports-resource-in-sotw", "xds.config.resource-in-sotw"))


@dataclass(frozen=True, slots=True)
class Proxy:
    """Who is at the other end of a stream.

    ``id`` is ``<container>.<namespace>`` or Istio's ``sidecar~<ip>~<pod>.<namespace>~<domain>``.
    """

    id: str
    cluster: str = ""
    node_name: str = ""
    user_agent: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    features: frozenset[str] = frozenset()

    @property
    def takes_ttl(self) -> bool:
        """Whether a state-of-the-world response may wrap a resource to give it a TTL (delta always may)."""
        return TTL_FEATURE in self.features and bool(self.features & WRAPPER_FEATURES)

    @property
    def is_istio(self) -> bool:
        """Whether istiod configures it, so that it asks us for nothing but endpoints of istiod's clusters."""
        return self.id.count("~") == 3

    @property
    def workload_id(self) -> str:
        """``<container>.<namespace>`` in both forms of the id."""
        parts = self.id.split("~")
        return parts[2] if len(parts) == 4 else self.id


def proxy_of(node: base_pb2.Node) -> Proxy:
    """Return the proxy that a node message describes. Raises RefuseStreamError for one without a usable id."""
    if not node.id or len(node.id) > LONGEST_ID or not node.id.isprintable():
        raise RefuseStreamError(f"node.id: found {node.id[:60]!a}, allowed: 1 to {LONGEST_ID} printable characters")
    metadata = _texts(node)
    version = node.user_agent_build_version.version
    agent = node.user_agent_version or f"{version.major_number}.{version.minor_number}.{version.patch}"
    return Proxy(
        id=node.id,
        cluster=node.cluster[:LONGEST_TEXT],
        node_name=metadata.get("NODE_NAME", ""),
        user_agent=f"{node.user_agent_name} {agent}".strip()[:LONGEST_TEXT],
        metadata=metadata,
        features=frozenset(one for one in node.client_features[:MOST_TEXTS] if len(one) <= LONGEST_TEXT),
    )


def _texts(node: base_pb2.Node) -> dict[str, str]:
    """Return the texts of a node's metadata; of one that has more than anybody needs, those that we read."""
    fields = node.metadata.fields
    keys = fields if len(fields) <= MOST_TEXTS else [key for key in READ_METADATA if key in fields]
    found = {key: fields[key].string_value for key in keys if len(key) <= LONGEST_TEXT}
    return {key: value for key, value in found.items() if 0 < len(value) <= LONGEST_TEXT}


def transport_of(proxy: Proxy) -> Transport:
    """Return the transport that the proxy's bootstrap says it uses; delta ADS where it says nothing we know."""
    named = proxy.metadata.get(TRANSPORT_METADATA, "")
    return next((transport for transport in TRANSPORTS if transport == named), "delta")
