"""Settings of the right kind that cannot work: ``--check`` says what ``askew serve`` would say."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew.__main__ import main

pytestmark = pytest.mark.usefixtures("logging_as_before")
MESH = "apiVersion: askew.mesh/v1\nnodes: [{name: n1}]\nservices: []\n"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ASKEW_LOOP_TICK_S", "0", "loop.tick_s: found 0.0, allowed: a number > 0"),
        ("ASKEW_INGEST_SCRAPE", "some", "ingest.scrape: found 'some', allowed: agents, all, off"),
        ("ASKEW_INGEST_SCRAPE_INTERVAL_S", "0", "allowed: above 0"),
        ("ASKEW_PROMETHEUS_INTERVAL_S", "5", "prometheus.url: found nothing, allowed: a URL where"),
        ("ASKEW_PROMETHEUS_BACKFILL_H", "5", "prometheus.url: found nothing, allowed: a URL where"),
        ("ASKEW_PROMETHEUS_URL", "prometheus:9090", "prometheus.url: found 'prometheus:9090', allowed: http://HOST"),
        ("ASKEW_PROMETHEUS_URL", "http://[::1", "allowed: http://HOST"),
        ("ASKEW_REPLICATION_LEASE_S", "1", "allowed: 0 < retry_s < renew_deadline_s < lease_s"),
        ("ASKEW_ISTIO_MODE", "magic", "istio.mode: found 'magic'"),
        ("ASKEW_ISTIO_MODE", "googleGrpc", "xds.token_port: found 0, allowed: a port"),
        ("ASKEW_XDS_TOKEN_PORT", "18002", "xds.token_port: found 18002 without xds.certificate_file"),
        ("ASKEW_NODES_CA_FILE", "/ca", "nodes.certificate_file, nodes.key_file: found nothing, allowed: a file"),
        ("ASKEW_NODES_AGENT_LABEL", "app", "nodes.agent_label: found 'app', allowed: KEY=VALUE"),
        ("ASKEW_NODES_AGENT_PORT", "0", "nodes.agent_port: found 0, allowed: a port"),
        ("ASKEW_XDS_HOST", "0.0.0.0", "xds.host: found '0.0.0.0' without"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    said: str,
) -> None:
    """One line: what, where, what is allowed; exit code 2."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    monkeypatch.setenv(variable, value)

    assert main(["serve", "--mesh", f"{tmp_path}/mesh.yaml", "--check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
