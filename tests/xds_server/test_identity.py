"""Which certificate may be which ``node.id``."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xds_server.identity
import xds_server.loopback
from xds_server.identity import PeerIdentity, SpiffeId, Workload, claimed_workload, peer_identity, refusal, spiffe_id

DOMAIN = "cluster.local"
WEB = "spiffe://cluster.local/ns/shop/sa/web"


def may(proxy_id: str, *, uris: tuple[str, ...] = (), dns: tuple[str, ...] = ()) -> bool:
    """Return whether a certificate with these names may be this proxy."""
    return not refusal(PeerIdentity(uris, dns), proxy_id, trust_domain=DOMAIN)


@pytest.mark.parametrize("module", [xds_server.identity, xds_server.loopback])
def test_examples_run(module: object) -> None:
    """The examples in the docstrings do what they show."""
    result = doctest.testmod(module)  # type: ignore[arg-type]

    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    "proxy_id", ["web-0.shop", "web-1.shop", "till-0.shop", "sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local"]
)
def test_a_spiffe_id_binds_the_namespace(proxy_id: str) -> None:
    """It names no container: every one of its namespace may be meant, in both forms of the id."""
    assert may(proxy_id, uris=(WEB,))


@pytest.mark.parametrize(
    "proxy_id",
    [
        "web-0.bank",
        "shop.bank",
        "web-0.shop.bank",
        "web-0.SHOP",
        "web-0.shop.",
        "web-0",
        ".shop",
        "",
        "sidecar~10.0.0.7~web-0.bank~shop.svc.cluster.local",
        "sidecar~10.0.0.7~web-0.shop~bank.svc.cluster.local",
        "sidecar~shop~web-0~shop",
        "a~b~web-0.bank~d.shop",
    ],
)
def test_another_namespace_is_refused(proxy_id: str) -> None:
    """The namespace is what stands after the last dot of the workload's name, wherever else it may be written."""
    assert not may(proxy_id, uris=(WEB,))


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://evil.example/ns/shop/sa/web",
        "spiffe://Cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns/shop/sa/web/",
        "spiffe://cluster.local/ns/bank/../shop/sa/web",
        "spiffe://cluster.local/ns/../sa/web",
        "spiffe://cluster.local/ns/shop/sa/web#x",
        "spiffe://cluster.local/ns/sh%6Fp/sa/web",
        "spiffe://cluster.local:443/ns/shop/sa/web",
        "spiffe://user@cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local//ns/shop/sa/web",
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "https://cluster.local/ns/shop/sa/web",
        " spiffe://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web\n",
        "spiffe://cluster.local/ns/shop\0/sa/web",
    ],
)
def test_only_an_exact_spiffe_id_of_our_trust_domain_counts(uri: str) -> None:
    """A foreign domain, another path, and everything that is nearly one."""
    assert not may("web-0.shop", uris=(uri,))


@pytest.mark.parametrize(
    "name",
    [
        "web-0.shop", "WEB-0.shop", "web-0.shop.svc", "web-0.shop.svc.cluster.local",
        "*.shop", "*.shop.svc", "*.shop.svc.cluster.local",
    ],
)  # fmt: skip
def test_a_dns_name_binds_the_workload_or_its_namespace(name: str) -> None:
    """The workload's name, or a wildcard in its namespace, with Kubernetes' endings or without."""
    assert may("web-0.shop", dns=(name,))
    assert may("web-0.shop", dns=("other.example", name))


@pytest.mark.parametrize(
    "name",
    [
        "web-1.shop", "web-0.bank", "web-0", "shop", "*", "*.*", "*.bank", "web-*.shop", "*.svc.cluster.local",
        "web-0.shop.svc.evil.example", "web-0.shop.example", "web-0.shop.svc.svc", "x.web-0.shop", "web-0.shop\0",
        "web-0.shop.", "",
    ],
)  # fmt: skip
def test_other_dns_names_are_refused(name: str) -> None:
    """Another container, another namespace, another ending, a wildcard that is wider than a namespace."""
    assert not may("web-0.shop", dns=(name,))


def test_an_ending_is_never_taken_for_a_namespace() -> None:
    """``web.shop.svc`` is ``web`` in ``shop``; it may not be ``web.shop`` in a namespace called ``svc``."""
    assert may("web.shop", dns=("web.shop.svc",))
    assert not may("web.shop.svc", dns=("web.shop.svc",))


def test_a_wildcard_stands_for_one_label() -> None:
    """RFC 6125: ``*.shop`` is not ``a.b.shop``."""
    assert not may("a.b.shop", dns=("*.shop",))
    assert may("a.b.shop", dns=("a.b.shop",))


def test_a_uri_decides_alone() -> None:
    """A DNS name beside it cannot widen what the SPIFFE id says, and two URIs say nothing."""
    assert not may("till-0.bank", uris=(WEB,), dns=("till-0.bank",))
    assert not may("web-0.shop", uris=(WEB, "spiffe://cluster.local/ns/bank/sa/till"))


def test_a_certificate_without_names_is_refused() -> None:
    """A subject alone is no identity."""
    assert not may("web-0.shop")


def test_the_refusal_is_one_printable_line_that_says_found_and_allowed() -> None:
    """Whatever a client writes as its id or has in its certificate, the log stays one line."""
    why = refusal(PeerIdentity(dns_names=("a\nb\x1b[2J",)), "x\ny.shop", trust_domain=DOMAIN)

    assert why.isprintable()
    assert "found" in why
    assert "allowed" in why


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_opens_another_namespace(container: str, ending: str) -> None:
    """Property: a SPIFFE id lets in only ids whose workload's namespace, parsed again, is its own."""
    for proxy_id in (f"{container}.{ending}", f"sidecar~1~{container}~{ending}"):
        workload = claimed_workload(proxy_id)
        allowed = may(proxy_id, uris=(WEB,))
        assert allowed == (workload is not None and workload.namespace == "shop")


def test_parts_are_read_as_they_are_written() -> None:
    """The pure readers, and gRPC's auth context with bytes that are no text."""
    assert spiffe_id(WEB) == SpiffeId("cluster.local", "shop", "web")
    assert claimed_workload("a.b.shop") == Workload("a.b", "shop")
    assert peer_identity({"peer_uri": [WEB.encode()], "peer_dns": [b"\xff"]}) == PeerIdentity((WEB,), ("ÿ",))
    assert peer_identity({}) == PeerIdentity()


@pytest.mark.parametrize(("account", "why"), [("", ""), ("web", ""), ("till", "allowed: service account till")])
def test_a_known_service_account_is_bound_too(account: str, why: str) -> None:
    """As istiod does: two workloads of one namespace are not each other. Not known: the namespace is all."""
    found = refusal(PeerIdentity(uris=(WEB,)), "web-0.shop", trust_domain=DOMAIN, service_account=account)
    assert found.endswith(why)
    assert bool(found) == bool(why)
