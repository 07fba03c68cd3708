"""Which protocol a Service's port speaks, by Istio's rules for ``appProtocol`` and port names.

Source: Istio docs, "Protocol Selection"; istio/istio ``pkg/config/kube/conversion.go``, ``ConvertProtocol``.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.topology import Protocol

_WELL_KNOWN_TCP = frozenset((25, 53, 3306, 27017))  # where the server speaks first, or Istio knows it is not HTTP
_KUBERNETES_OWN: Mapping[str, Protocol] = {"kubernetes.io/h2c": "http", "kubernetes.io/ws": "http"}
_BY_NAME: Mapping[str, Protocol] = {
    **dict.fromkeys(("http", "http2", "http_proxy"), "http"),
    "grpc": "grpc",
    **dict.fromkeys(("tcp", "https", "tls", "mongo", "mysql", "redis", "hbone"), "tcp"),
}


def protocol_of(*, name: str, app_protocol: str, number: int) -> Protocol:
    """Return the protocol as a mesh's port has it; TLS is bytes to a sidecar, so ``tcp``.

    A port that declares nothing is looked at by Istio connection by connection: mostly it is HTTP.

    >>> protocol_of(name="grpc-api", app_protocol="", number=7070)
    'grpc'
    >>> protocol_of(name="http", app_protocol="redis", number=6379)
    'tcp'
    """
    said = (app_protocol or name).lower()
    if said == "kubernetes.io/wss":
        return "tcp"
    if said in _KUBERNETES_OWN:
        return _KUBERNETES_OWN[said]
    if said.startswith("grpc-web"):
        return "http"
    known = _BY_NAME.get(said.partition("-")[0])
    if known is not None:
        return known
    return "tcp" if number in _WELL_KNOWN_TCP else "http"
