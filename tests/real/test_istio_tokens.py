"""Mode googleGrpc on real Envoys: the pod's token opens the way, and what the API server says of it counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from askew.token_access import token_check
from istio.client import connect
from istio.envoy_filters import render
from istio.integration import SteeredService
from istio.settings import KubernetesSettings
from istio.token_reviews import TokenReviews
from tests.fakes.api_server import ApiServer
from tests.fakes.authority import Authority, Issued
from tests.fakes.clock import FakeClock
from tests.real.istio_mesh import PORT, SHOP, WHOLE, IstioMesh
from tests.real.istio_sidecar import IstioSidecar
from tests.real.outside_process import free_port
from tests.real.sidecar_mesh import failures, until
from xds_server.settings import XdsSettings
from xds_server.tokens import TokenOwner

pytestmark = pytest.mark.timeout(120)
UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE, INTERNAL = 16, 7, 14, 13


@dataclass
class TokenMesh:
    """A mesh whose sidecars show a token, the file it is in, and the API server that judges it."""

    mesh: IstioMesh
    api: ApiServer
    file: Path
    root: Path
    clock: FakeClock
    host: str
    certificate: Issued
    authority: Authority
    shown: list[str] = field(default_factory=list)

    def mount(self, token: str) -> None:
        """Put a token where the sidecar finds it, as the kubelet does: by renaming."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(token)
        fresh.rename(self.file)

    def steer(self) -> None:
        """Put our filters into the mesh; only the paths of the two mounted files are this machine's."""
        to = replace(self.mesh.to, host=self.host, mode="googleGrpc", transport="mtls")
        filters = render(to, [SteeredService(SHOP)])
        for patch in filters[-1]["spec"]["configPatches"]:
            source = patch["patch"]["value"]["eds_cluster_config"]["eds_config"]["api_config_source"]
            (service,) = (one["google_grpc"] for one in source["grpc_services"])
            plugin = service["call_credentials"][0]["from_plugin"]["typed_config"]
            assert plugin["secret_data"]["filename"] == "/var/run/secrets/tokens/istio-token"
            plugin["secret_data"]["filename"] = str(self.file)
            service["channel_credentials"]["ssl_credentials"]["root_certs"]["filename"] = str(self.root)
        self.mesh.istiod.filters = filters
        self.mesh.istiod.push()

    async def steered(self) -> None:
        """Wait until the sidecar has the endpoint of its own node, and no other."""
        own = [f"{self.mesh.address('shop-1')}:{PORT}"]

        async def obeys() -> bool:
            return list(await self.mesh.sidecars["load-1"].weights(WHOLE)) == own

        await until(obeys, deadline_s=40)

    def refusals(self) -> dict[str, float]:
        """Return how many streams were turned away, by why."""
        value = self.mesh.plane.registry.get_sample_value
        found = {
            reason: value("askew_xds_token_refusals_total", {"reason": reason}) for reason in ("refused", "unchecked")
        }
        found["foreign"] = value("askew_xds_identity_refusals_total")
        return {reason: count for reason, count in found.items() if count}


@asynccontextmanager
async def token_mesh(
    folder: Path, envoy: Path, clock: FakeClock, *, host: str = "127.0.0.1", san: str = "IP:127.0.0.1"
) -> AsyncIterator[TokenMesh]:
    """Yield a mesh with the port for tokens open; the certificate has the names ``san``, sidecars go to ``host``."""
    authority = Authority(folder)
    server = Issued(folder / "tls.crt", folder / "tls.key")
    authority.issue("server", san).install(server.certificate, server.key)
    xds = XdsSettings(
        token_port=free_port(),
        certificate_file=str(server.certificate),
        key_file=str(server.key),
        client_ca_file=str(authority.certificate),
    )
    async with (
        ApiServer(now=lambda: datetime.fromtimestamp(clock(), UTC)) as api,
        await connect(KubernetesSettings(api_server=api.url, deadline_s=2.0)) as client,
    ):
        reviews = TokenReviews(
            lambda token: client.review_token(token, audience="istio-ca"), audience="istio-ca", now_s=clock
        )
        check, shown = token_check(reviews), []

        async def noted(token: str, peer: str) -> TokenOwner:
            shown.append(token)
            return await check(token, peer)

        async with IstioMesh(folder, envoy, xds=xds, check_token=noted) as mesh:
            token, root = folder / "istio-token", authority.certificate
            yield TokenMesh(mesh, api, token, root, clock, host, server, authority, shown)
        await reviews.close()


@pytest.fixture
async def tokens(each_envoy: Path, tmp_path: Path, clock: FakeClock) -> AsyncIterator[TokenMesh]:
    async with token_mesh(tmp_path, each_envoy, clock) as running:
        yield running


async def closed_with(sidecar: IstioSidecar, status: int) -> bool:
    """Whether a stream of this Envoy's to us ended with a gRPC status."""
    return any((await sidecar.stats(rf"grpc\.askew_xds\.streams_closed_{status}$")).values())


async def test_the_pods_token_opens_the_way_and_a_renewed_one_is_shown(tokens: TokenMesh) -> None:
    """Endpoints come over TLS without a client's certificate; Envoy reads the file anew for each stream."""
    mesh = tokens.mesh
    first = tokens.api.tokens.issue("load", pod="load-1")
    tokens.mount(first)
    await mesh.add_sidecar("load-1")
    tokens.steer()
    await tokens.steered()
    assert await mesh.send("load-1", 50) == {"shop-1": 50}
    second = tokens.api.tokens.issue("load", pod="load-1")
    tokens.mount(second)
    await mesh.stop_askew()
    tokens.shown.clear()
    await mesh.start_askew()
    await until(lambda: tokens.shown, deadline_s=40)
    await until(lambda: mesh.sidecars["load-1"].node_id in mesh.plane.store.clients)

    assert set(tokens.shown) == {second}
    assert tokens.refusals() == {}
    assert mesh.istiod.refused == []


@pytest.mark.parametrize(
    ("which", "status", "counted"),
    [
        ("no file", INTERNAL, set()),  # Envoy's own word: nothing reaches us
        ("empty", UNAUTHENTICATED, {"refused"}),
        ("wrong", UNAUTHENTICATED, {"refused"}),
        ("expired", UNAUTHENTICATED, {"refused"}),
        ("another audience's", UNAUTHENTICATED, {"refused"}),
        ("another pod's", PERMISSION_DENIED, {"foreign"}),
        ("another namespace's", PERMISSION_DENIED, {"foreign"}),
        ("nobody can be asked", UNAVAILABLE, {"unchecked"}),
    ],
)
async def test_who_is_turned_away_keeps_what_istiod_said_and_comes_in_with_a_good_token(
    tmp_path: Path, envoy: Path, clock: FakeClock, which: str, status: int, counted: set[str]
) -> None:
    """With a status that says why, and a count; requests go on. A better token in the file is all that is needed."""
    async with token_mesh(tmp_path, envoy, clock) as tokens:
        issue = tokens.api.tokens.issue
        good = issue("load", pod="load-1")
        if which == "empty":
            tokens.mount("")
        elif which == "wrong":
            tokens.mount("a.b.c")
        elif which == "expired":
            tokens.mount(issue("load", ends_after_s=-1.0))
        elif which == "another audience's":
            tokens.mount(issue("load", audiences=("api",)))
        elif which == "another pod's":
            tokens.mount(issue("load", pod="load-2"))
        elif which == "another namespace's":
            tokens.mount(issue("load", namespace="bank"))
        elif which == "nobody can be asked":
            tokens.mount(good)
            tokens.api.faults.fail(503, times=1, plural="tokenreviews")
        mesh = tokens.mesh
        sidecar = await mesh.add_sidecar("load-1")
        tokens.steer()

        async def turned_away() -> bool:
            return await closed_with(sidecar, status)

        await until(turned_away)
        assert not failures(await mesh.send("load-1", 20))
        if which != "nobody can be asked":
            assert not mesh.plane.store.clients
            assert set(await sidecar.weights(WHOLE)) == {
                f"{mesh.address(shop)}:{PORT}" for shop in ("shop-1", "shop-2")
            }
        assert set(tokens.refusals()) == counted
        tokens.mount(good)
        await tokens.steered()

        assert await mesh.send("load-1", 20) == {"shop-1": 20}


NAME = "localhost"  # a DNS name that leads here; the certificates below have no address


async def test_the_certificate_is_checked_by_its_dns_name_and_may_be_renewed(
    tmp_path: Path, envoy: Path, clock: FakeClock
) -> None:
    """The name and the root are enough; a stream that is open outlives the renewal, the next one is opened by it."""
    async with token_mesh(tmp_path, envoy, clock, host=NAME, san=f"DNS:askew.example,DNS:{NAME}") as tokens:
        mesh = tokens.mesh
        tokens.mount(tokens.api.tokens.issue("load", pod="load-1"))
        sidecar = await mesh.add_sidecar("load-1")
        tokens.steer()
        await tokens.steered()
        before = loads(tokens)
        renewed = tokens.authority.issue("renewed", f"DNS:{NAME}")
        renewed.install(tokens.certificate.certificate, tokens.certificate.key)
        await until(lambda: loads(tokens) > before)
        assert not any(await asyncio.gather(*(closed_with(sidecar, status) for status in range(17))))
        assert await mesh.send("load-1", 20) == {"shop-1": 20}
        await mesh.stop_askew()
        await mesh.start_askew()
        await until(lambda: sidecar.node_id in mesh.plane.store.clients, deadline_s=40)

        assert tokens.refusals() == {}
        assert await mesh.send("load-1", 20) == {"shop-1": 20}


@pytest.mark.parametrize("which", ["another name", "an address alone", "another root"])
async def test_a_certificate_that_is_not_for_this_sidecar_sends_it_no_token(
    tmp_path: Path, envoy: Path, clock: FakeClock, which: str
) -> None:
    """Envoy ends its own streams (INTERNAL) and nothing reaches us, the token least of all; istiod's word holds.

    A certificate that is right, put in the place of the wrong one, is all that is needed.
    """
    san = {"another name": "DNS:askew.example", "an address alone": "IP:127.0.0.1"}.get(which, f"DNS:{NAME}")
    async with token_mesh(tmp_path, envoy, clock, host=NAME, san=san) as tokens:
        mesh = tokens.mesh
        trusted = tokens.authority
        if which == "another root":
            trusted = Authority(tmp_path, "trusted")
            tokens.root = trusted.certificate
        tokens.mount(tokens.api.tokens.issue("load", pod="load-1"))
        sidecar = await mesh.add_sidecar("load-1")
        tokens.steer()

        async def turned_away() -> bool:
            return await closed_with(sidecar, INTERNAL)

        await until(turned_away)
        assert not failures(await mesh.send("load-1", 20))
        assert (tokens.shown, tokens.refusals(), mesh.plane.store.clients) == ([], {}, {})
        right = trusted.issue("right", f"DNS:{NAME}")
        right.install(tokens.certificate.certificate, tokens.certificate.key)
        await tokens.steered()

        assert await mesh.send("load-1", 20) == {"shop-1": 20}


def loads(tokens: TokenMesh) -> float:
    """Return how often the certificate's files were taken."""
    labels = {"result": "accepted"}
    return tokens.mesh.plane.registry.get_sample_value("askew_xds_certificate_loads_total", labels) or 0.0
