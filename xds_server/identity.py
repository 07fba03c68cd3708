"""Who may be which proxy: the certificate of a connection against the ``node.id`` that it claims. Pure.

A client certificate proves either a SPIFFE id, as Istio's do, or DNS names. A SPIFFE id says the namespace and the
service account but no container, so it binds the namespace; a DNS name may bind the very container. Where a
certificate has a URI, that alone decides, so that a second name cannot widen what the first one says.

Source: SPIFFE, "X.509-SVID" (one URI SAN, which is the identity) and "SPIFFE-ID" (its syntax); Istio's path
``/ns/<namespace>/sa/<service account>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SPIFFE = re.compile(r"spiffe://([a-z0-9._-]{1,255})/ns/([A-Za-z0-9._-]+)/sa/([A-Za-z0-9._-]+)")


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What a verified client certificate says its owner is: its URI and DNS subject alternative names."""

    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(ascii(name)[1:-1] for name in (*self.uris, *self.dns_names)) or "no URI or DNS name"


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``."""

    trust_domain: str
    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Workload:
    """What a ``node.id`` claims: ``container`` in ``namespace``."""

    container: str
    namespace: str


def peer_identity(auth_context: Mapping[str, Iterable[bytes]]) -> PeerIdentity:
    """Return the names of gRPC's auth context. Without a client certificate both are empty.

    >>> peer_identity({"peer_dns": [b"web-0.default"], "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"]})
    PeerIdentity(uris=(), dns_names=('web-0.default',))
    """
    return PeerIdentity(uris=_texts(auth_context, "peer_uri"), dns_names=_texts(auth_context, "peer_dns"))


def spiffe_id(uri: str) -> SpiffeId | None:
    """Return the parts of a SPIFFE id of Istio's form, None for any other text.

    >>> spiffe_id("spiffe://cluster.local/ns/shop/sa/web")
    SpiffeId(trust_domain='cluster.local', namespace='shop', service_account='web')
    >>> spiffe_id("spiffe://cluster.local/ns/shop/sa/web?x") is None
    True
    """
    found = _SPIFFE.fullmatch(uri)
    # The specification forbids the segments "." and "..": as a path they would mean another one.
    if found is None or {".", ".."} & set(found.groups()):
        return None
    return SpiffeId(*found.groups())


def claimed_workload(proxy_id: str) -> Workload | None:
    """Return the workload that a ``node.id`` names, None where it names none or two that differ.

    >>> claimed_workload("web-0.default")
    Workload(container='web-0', namespace='default')
    >>> claimed_workload("sidecar~10.0.0.7~web-0.default~default.svc.cluster.local")
    Workload(container='web-0', namespace='default')
    >>> claimed_workload("sidecar~10.0.0.7~web-0.default~bank.svc.cluster.local") is None
    True
    """
    parts = proxy_id.split("~")
    name = parts[2] if len(parts) == 4 else proxy_id
    container, dot, namespace = name.rpartition(".")
    if not dot or not container or not namespace:
        return None
    if len(parts) == 4 and ".svc" in parts[3] and parts[3].partition(".")[0] != namespace:
        return None
    return Workload(container, namespace)


def refusal(peer: PeerIdentity, proxy_id: str, *, trust_domain: str, service_account: str = "") -> str:
    """Return why this certificate may not be this proxy, one line; empty where it may.

    Parameters
    ----------
    peer:
        The names of the certificate, which TLS has verified against the trusted authorities.
    proxy_id:
        ``node.id`` as the client wrote it.
    trust_domain:
        The only trust domain whose SPIFFE ids are taken, and the cluster domain that a DNS name may end with.
    service_account:
        Of the workload, as the cluster knows it; a SPIFFE id must name it too. Empty: not known, any of the namespace.

    >>> peer = PeerIdentity(uris=("spiffe://cluster.local/ns/shop/sa/web",))
    >>> refusal(peer, "web-0.shop", trust_domain="cluster.local")
    ''
    >>> refusal(peer, "till-0.bank", trust_domain="cluster.local")
    'node.id: found till-0.bank with a certificate of spiffe://cluster.local/ns/shop/sa/web, allowed: namespace shop'
    """
    workload = claimed_workload(proxy_id)
    shown = ascii(proxy_id)[1:-1]
    if workload is None:
        return f"node.id: found {shown}, allowed: <container>.<namespace> or sidecar~<ip>~<pod>.<namespace>~<domain>"
    if peer.uris:
        allowed = _refused_by_uri(peer, workload, trust_domain, service_account)
    else:
        fits = any(_dns_fits(name, workload, trust_domain) for name in peer.dns_names)
        allowed = "" if fits else "what the certificate names"
    return f"node.id: found {shown} with a certificate of {peer}, allowed: {allowed}" if allowed else ""


def _refused_by_uri(peer: PeerIdentity, workload: Workload, trust_domain: str, service_account: str) -> str:
    found = spiffe_id(peer.uris[0])
    if len(peer.uris) > 1:
        return "a certificate with one URI"
    if found is None:
        return f"spiffe://{trust_domain}/ns/<namespace>/sa/<service account>"
    if found.trust_domain != trust_domain:
        return f"trust domain {trust_domain}"
    if found.namespace != workload.namespace:
        return f"namespace {found.namespace}"
    return "" if service_account in ("", found.service_account) else f"service account {service_account}"


def _dns_fits(name: str, workload: Workload, trust_domain: str) -> bool:
    """Whether a DNS name is the workload's: ``<container or *>.<namespace>``, ``.svc`` and the domain after it or not.

    The ending is taken off first, so that ``web.shop.svc`` means ``web`` in ``shop`` and never ``web.shop`` in ``svc``.
    """
    text, ending = name.lower(), f".svc.{trust_domain.lower()}"
    bare = text.removesuffix(ending) if text.endswith(ending) else text.removesuffix(".svc")
    host, _, namespace = bare.rpartition(".")
    if namespace != workload.namespace.lower():
        return False
    # A wildcard stands for one label (RFC 6125, section 6.4.3).
    return host == workload.container.lower() or (host == "*" and "." not in workload.container)


def _texts(auth_context: Mapping[str, Iterable[bytes]], key: str) -> tuple[str, ...]:
    # latin-1 takes any byte: an odd name becomes one that matches nothing, and the log shows it.
    return tuple(value.decode("latin-1") for value in auth_context.get(key, ()))
