"""Settings from file and environment, truth values among them, and what ``askew serve`` refuses to do with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew.__main__ import _parse, main
from askew.cli.serve import _settings
from askew.errors import CommandError
from askew.settings import compose
from mesh.errors import BadInputError

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services: [{name: shop, port: 80, containers: [{name: shop-0, node: n1, address: 127.5.0.1}]}]
"""


@pytest.mark.parametrize(("written", "expected"), [("true", True), ("false", False)])
def test_a_truth_value_is_true_or_false(written: str, expected: bool) -> None:
    """The same two words in the file and in the environment; the environment wins."""
    name = "ASKEW_XDS_PLAINTEXT_BEYOND_LOOPBACK"
    opposite = "false" if expected else "true"
    text = f"xds: {{plaintext_beyond_loopback: {written}}}"

    assert compose(file_text=text, environment={}).xds.plaintext_beyond_loopback is expected
    overlaid = compose(file_text=text, environment={name: opposite})
    assert overlaid.xds.plaintext_beyond_loopback is not expected


@pytest.mark.parametrize("written", ["1", "0", '"true"', "null", "[]"])
def test_the_file_takes_nothing_else_for_one(written: str) -> None:
    """A number or a text is a mistake, not a guess."""
    with pytest.raises(BadInputError, match="true or false"):
        compose(file_text=f"xds: {{plaintext_beyond_loopback: {written}}}", environment={})


@pytest.mark.parametrize("written", ["1", "", "yes", "True", "TRUE "])
def test_the_environment_takes_nothing_else_for_one(written: str) -> None:
    """Least of all ``yes`` for false, or an empty text for true."""
    with pytest.raises(CommandError, match="true or false"):
        compose(file_text=None, environment={"ASKEW_XDS_PLAINTEXT_BEYOND_LOOPBACK": written})


def test_a_link_of_kubernetes_is_no_setting() -> None:
    """The kubelet gives each pod of a namespace variables of its Services: ``askew-http`` makes one with our name."""
    links = {"ASKEW_HTTP_PORT": "tcp://10.96.7.8:18080", "ASKEW_XDS_PORT": "tcp://10.96.7.9:18000"}

    assert compose(file_text="http: {port: 81}", environment=links).http.port == 81
    with pytest.raises(CommandError, match="ASKEW_HTTP_PORT"):
        compose(file_text=None, environment={"ASKEW_HTTP_PORT": "10.96.7.8:18080"})


@pytest.mark.parametrize("setting", ["xds: {port: true}", "loop: {tick_s: false}", "http: {host: true}"])
def test_a_truth_value_is_no_number_and_no_text(setting: str) -> None:
    """To Python ``true`` is 1; to a person it is not."""
    with pytest.raises(BadInputError):
        compose(file_text=setting, environment={})


def refused(tmp_path: Path, *more: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which ``askew serve`` refuses to start."""
    (tmp_path / "mesh.yaml").write_text(MESH)

    assert main(["serve", "--mesh", str(tmp_path / "mesh.yaml"), *more]) == 2

    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


@pytest.mark.usefixtures("logging_as_before")
def test_serve_refuses_plaintext_beyond_loopback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and one line that says what would be right; before it listens anywhere, and with --check too."""
    line = refused(tmp_path, "--xds", "0.0.0.0:0", capsys=capsys)

    assert line.startswith("xds.host: found '0.0.0.0' without xds.certificate_file, allowed: a loopback address")
    assert refused(tmp_path, "--xds", "0.0.0.0:0", "--check", capsys=capsys) == line


@pytest.mark.usefixtures("logging_as_before")
def test_serve_refuses_files_that_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate or a token that is not there is bad input like any other."""
    (tmp_path / "tls.yaml").write_text("xds: {port: 0, certificate_file: c, key_file: k, client_ca_file: a}")
    (tmp_path / "token.yaml").write_text(f"http: {{token_file: {tmp_path}/none}}")
    free = ("--xds", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config")

    assert "xds.certificate_file: found 'c' (No such file" in refused(
        tmp_path, *free, str(tmp_path / "tls.yaml"), capsys=capsys
    )
    assert "http.token_file: found" in refused(tmp_path, *free, str(tmp_path / "token.yaml"), capsys=capsys)


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("xds: {certificate_file: c, key_file: k, client_ca_file: a}", "xds.certificate_file: found 'c' (No such file"),
        ("http: {token_file: none}", "http.token_file: found 'none' (No such file"),
        (
            "http: {mtls_host: 127.0.0.1, mtls_certificate_file: c, mtls_key_file: k, mtls_client_ca_file: a}",
            "http.mtls_certificate_file: found 'c' (No such file",
        ),
    ],
)
def test_check_reads_the_files_that_the_ports_need(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ``--check`` accepts, starts."""
    (tmp_path / "settings.yaml").write_text(settings)

    assert said in refused(tmp_path, "--check", "--config", str(tmp_path / "settings.yaml"), capsys=capsys)


@pytest.mark.usefixtures("logging_as_before")
def test_check_reads_how_the_cluster_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and one line for a kubeconfig with which ``serve`` would not start; else 0, and nobody is asked."""
    file = tmp_path / "config"
    monkeypatch.setenv("ASKEW_KUBERNETES_KUBECONFIG", str(file))
    good = """
        clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
        users: [{name: u, user: {token: t}}]
        contexts: [{name: x, context: {cluster: c, user: u}}]
        """
    codes, lines = [], []
    for text in (good, good + "current-context: y", good + "current-context: x"):
        file.write_text(text)
        codes.append(main(["serve", "--kubernetes", "--check"]))
        lines.append(capsys.readouterr().err)

    assert codes == [2, 2, 0]
    assert [line.count("\n") for line in lines] == [1, 1, 0]
    assert "Expected key current-context" in lines[0]
    assert "Expected object with name y" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "variable", "expected"),
    [
        (["--kubernetes"], None, "0.0.0.0"),
        (["--kubernetes"], "127.0.0.9", "127.0.0.9"),
        (["--kubernetes", "--http", "127.0.0.8:1"], "127.0.0.9", "127.0.0.8"),
        (["--mesh", "mesh.yaml"], None, "127.0.0.1"),
    ],
)
def test_in_a_cluster_the_pages_are_on_all_addresses(
    arguments: list[str], variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet's probes come from elsewhere; who sets an address, or has a mesh file, gets what is asked for."""
    if variable is not None:
        monkeypatch.setenv("ASKEW_HTTP_HOST", variable)

    assert _settings(_parse(["serve", *arguments])).http.host == expected


def test_a_port_is_at_most_65535() -> None:
    """In the file and in the environment; what ends with ``port`` is one, and nothing else."""
    with pytest.raises(BadInputError, match=r"^xds\.port: found 70000, allowed: a port from 0 to 65535$"):
        compose(file_text="xds: {port: 70000}", environment={})
    with pytest.raises(CommandError, match=r"^ASKEW_HTTP_MTLS_PORT: found '65536', allowed: a port from 0 to 65535$"):
        compose(file_text=None, environment={"ASKEW_HTTP_MTLS_PORT": "65536"})
    assert compose(file_text="xds: {port: 65535, max_pending_requests: 70000}", environment={}).xds.port == 65535
