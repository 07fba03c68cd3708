"""Real Envoys over mTLS: they are let in as themselves only, and follow a renewed certificate without a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh.topology import Container
from tests.fakes.authority import Authority, Issued
from tests.real.sidecar_mesh import SidecarMesh, failures, until
from xds_server.resources.client_tls import ClientTls
from xds_server.settings import XdsSettings

pytestmark = pytest.mark.timeout(120)

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: load
    containers: [{name: load-1, node: n1, address: 127.78.1.1}]
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: local-first}
    containers: [{name: shop-a, node: n1, address: 127.78.1.10, app_port: 8080}]
calls: [{from: load, to: shop}]
"""
NAMES = {"load-1": "URI:spiffe://cluster.local/ns/default/sa/load", "shop-a": "DNS:shop-a.default"}


@dataclass
class Certificates:
    """The authority, and each container's certificate, renewed by renaming over or as Kubernetes renews a mount."""

    authority: Authority
    folder: Path
    way: str
    generation: int = 0

    def of(self, container: str) -> Issued:
        """Return where a container's certificate stands."""
        return Issued(self.folder / container / "tls.crt", self.folder / container / "tls.key")

    def give(self, container: str, san: str) -> None:
        """Issue a certificate, and put it in the container's place."""
        self.generation += 1
        files, issued = self.of(container), self.authority.issue(f"{container}-new", san)
        files.key.parent.mkdir(exist_ok=True)
        if self.way == "renamed":
            issued.install(files.certificate, files.key)
            return
        fresh = files.key.parent / f"..{self.generation}"
        fresh.mkdir()
        issued.install(fresh / "tls.crt", fresh / "tls.key")
        (files.key.parent / "..data.new").symlink_to(fresh.name)
        (files.key.parent / "..data.new").rename(files.key.parent / "..data")
        for file in (files.certificate, files.key):
            if not file.is_symlink():
                file.symlink_to(f"..data/{file.name}")

    def client_tls(self, container: Container) -> ClientTls:
        """Return what a container's sidecar shows and trusts."""
        files = self.of(container.name)
        self.give(container.name, NAMES[container.name])
        folder = str(files.certificate.parent)
        ca = str(self.authority.certificate)
        return ClientTls(str(files.certificate), str(files.key), ca, server_name="127.0.0.1", folder=folder)


@pytest.fixture(params=["renamed", "mounted"])
def certificates(tmp_path: Path, request: pytest.FixtureRequest) -> Certificates:
    return Certificates(Authority(tmp_path), tmp_path, request.param)


@pytest.fixture
async def mesh(tmp_path: Path, envoy: Path, certificates: Certificates) -> AsyncIterator[SidecarMesh]:
    server = certificates.authority.issue("askew", "IP:127.0.0.1")
    tls = XdsSettings(
        certificate_file=str(server.certificate),
        key_file=str(server.key),
        client_ca_file=str(certificates.authority.certificate),
        certificate_poll_s=0.05,
    )
    async with SidecarMesh(MESH, tmp_path, envoy, tls=tls, client_tls=certificates.client_tls) as running:
        yield running


def refusals(mesh: SidecarMesh) -> float:
    """Return how many streams were refused for their certificate."""
    return mesh.plane.registry.get_sample_value("askew_xds_identity_refusals_total") or 0.0


async def test_sidecars_are_configured_over_mtls(mesh: SidecarMesh) -> None:
    """With a SPIFFE id and with a DNS name; requests are served, and nobody was refused."""
    answers = await mesh.send("load-1", "shop", 100)

    assert answers == {"shop-a": 100}
    assert refusals(mesh) == 0


async def test_a_sidecar_follows_a_renewed_certificate(mesh: SidecarMesh, certificates: Certificates) -> None:
    """Envoy shows the new one when it connects again, without a restart; a foreign name in it shows that it does."""
    before = await mesh.send("load-1", "shop", 20)
    updates = "sds.askew-xds-certificate.key_rotation|ssl_context_update_by_sds"
    rotated = sum((await mesh.stats("load-1", updates)).values())
    certificates.give("load-1", "URI:spiffe://cluster.local/ns/other/sa/load")

    async def read_again() -> bool:
        return sum((await mesh.stats("load-1", updates)).values()) > rotated

    await until(read_again)
    assert refusals(mesh) == 0  # the open stream lives on
    await mesh.stop_askew()
    await mesh.start_askew()
    await until(lambda: refusals(mesh) > 0)
    assert "load-1.default" not in mesh.plane.store.clients
    certificates.give("load-1", NAMES["load-1"])
    # Envoy asks again over the connection that it has; the certificate of a connection is the one it began with.
    await mesh.stop_askew()
    await mesh.start_askew()
    await until(lambda: "load-1.default" in mesh.plane.store.clients, deadline_s=40)
    after = await mesh.send("load-1", "shop", 20)

    assert not failures(before + after)
