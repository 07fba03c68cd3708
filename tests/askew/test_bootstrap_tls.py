"""``askew bootstrap`` with mTLS: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from askew.__main__ import main

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services: [{name: shop, port: 80, containers: [{name: shop-0, node: n1, address: 127.5.0.1}]}]
"""
pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a mesh file and three files that stand for PEM."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def command(folder: Path, *more: str) -> int:
    """Run the command with all three files, and return its exit code."""
    files = ("--certificate", f"{folder}/tls.crt", "--key", f"{folder}/tls.key", "--ca", f"{folder}/ca.crt")
    return main(["bootstrap", "--mesh", f"{folder}/mesh.yaml", "shop-0", *files, *more])


@pytest.mark.parametrize(
    ("server", "kind", "name", "sni"),
    [
        (("--xds", "askew-xds.askew-system.svc:18000"), "DNS", "askew-xds.askew-system.svc", True),
        (("--xds", "[::1]:18000"), "IP_ADDRESS", "::1", False),
        (("--server-name", "spiffe://cluster.local/ns/askew-system/sa/askew"), "URI",
         "spiffe://cluster.local/ns/askew-system/sa/askew", False),
    ],
)  # fmt: skip
def test_the_xds_cluster_speaks_mtls(
    folder: Path, server: tuple[str, ...], kind: str, name: str, sni: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its secrets come from files, and the server must have the name that the sidecar calls it by."""
    assert command(folder, *server) == 0

    clusters = {one["name"]: one for one in yaml.safe_load(capsys.readouterr().out)["static_resources"]["clusters"]}
    (cluster,) = [one for one in clusters.values() if "transport_socket" in one]
    context = cluster["transport_socket"]["typed_config"]
    json_format.ParseDict({k: v for k, v in context.items() if k != "@type"}, tls_pb2.UpstreamTlsContext())
    assert ("sni" in context) == sni
    secrets = {}
    for file in folder.glob("askew-xds-*.json"):
        response = json_format.ParseDict(json.loads(file.read_text()), discovery_pb2.DiscoveryResponse())
        secrets[file.stem] = secret_pb2.Secret.FromString(response.resources[0].value)
    certificate = secrets["askew-xds-certificate"].tls_certificate
    assert (certificate.certificate_chain.filename, certificate.private_key.filename) == (
        f"{folder}/tls.crt",
        f"{folder}/tls.key",
    )
    validation = secrets["askew-xds-authority"].validation_context
    (matcher,) = validation.match_typed_subject_alt_names
    assert validation.trusted_ca.filename == f"{folder}/ca.crt"
    assert (common_pb2.SubjectAltNameMatcher.SanType.Name(matcher.san_type), matcher.matcher.exact) == (kind, name)


def test_without_the_files_it_is_plaintext(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As before: nothing of TLS in it, nothing written."""
    assert main(["bootstrap", "--mesh", f"{folder}/mesh.yaml", "shop-0"]) == 0

    assert "transport_socket" not in capsys.readouterr().out
    assert list(folder.glob("askew-xds-*")) == []


@pytest.mark.parametrize("missing", ["--certificate", "--key", "--ca"])
def test_half_of_the_files_is_a_mistake(folder: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the flag which is missing."""
    flags = {"--certificate": "tls.crt", "--key": "tls.key", "--ca": "ca.crt"}
    given = [word for flag, file in flags.items() if flag != missing for word in (flag, f"{folder}/{file}")]

    assert main(["bootstrap", "--mesh", f"{folder}/mesh.yaml", "shop-0", *given]) == 2

    assert capsys.readouterr().err.startswith(f"{missing}: found nothing, allowed: a file")


def test_files_that_cannot_be_used_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate that is not there; a folder in which nothing can be written. Nothing is printed then."""
    (folder / "tls.key").unlink()
    assert command(folder) == 2
    assert capsys.readouterr().err == f"--key: found '{folder}/tls.key', allowed: a file that exists\n"

    (folder / "tls.key").write_text("key")
    assert command(folder, "--sds-folder", f"{folder}/nowhere") == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("--sds-folder: found"), err.count("\n")) == ("", True, 1)
