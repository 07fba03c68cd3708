"""A variable that looks like a setting and is none is told of; Kubernetes' own are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew.__main__ import main
from askew.node_agent import EnforceSettings
from askew.settings import ServeSettings
from askew.stray_variables import variables_of, warn_of_strays

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services: [{name: shop, port: 80, containers: [{name: shop-0, node: n1, address: 127.5.0.1}]}]
"""

LINKS = {
    "ASKEW_HTTP_PORT": "tcp://10.96.7.8:18080",
    "ASKEW_HTTP_PORT_18080_TCP": "tcp://10.96.7.8:18080",
    "ASKEW_HTTP_PORT_18080_TCP_PROTO": "tcp",
    "ASKEW_HTTP_PORT_18080_TCP_PORT": "18080",
    "ASKEW_HTTP_PORT_18080_TCP_ADDR": "10.96.7.8",
    "ASKEW_HTTP_SERVICE_HOST": "10.96.7.8",
    "ASKEW_HTTP_SERVICE_PORT": "18080",
    "ASKEW_HTTP_SERVICE_PORT_HTTP": "18080",
    "ASKEW_DNS_PORT": "udp://10.96.7.8:53",
    "ASKEW_PORT": "tcp://10.96.7.8:1",
    "ASKEW_SERVICE_HOST": "10.96.7.8",
}
"""What a kubelet gives to the pods of a namespace with the Services ``askew-http``, ``askew-dns`` and ``askew``."""


def said(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that an environment brings."""
    caplog.clear()
    warn_of_strays(environment)
    return [record.getMessage() for record in caplog.records]


def test_a_misspelt_setting_is_named_with_the_nearest(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each, by name; never the value, which may be secret."""
    lines = said({"ASKEW_XDS_PROT": "secret", "ASKEW_LOOP_TICKS": "1", "PATH": "/bin"}, caplog)

    assert lines == [
        "ASKEW_LOOP_TICKS is no setting and does nothing; the nearest is ASKEW_LOOP_TICK_S",
        "ASKEW_XDS_PROT is no setting and does nothing; the nearest is ASKEW_XDS_PORT",
    ]


def test_where_nothing_is_near_nothing_is_guessed(caplog: pytest.LogCaptureFixture) -> None:
    """A name of something else is told of all the same."""
    assert said({"ASKEW_ZZZ": ""}, caplog) == ["ASKEW_ZZZ is no setting and does nothing"]


@pytest.mark.parametrize("name", LINKS)
def test_what_kubernetes_makes_of_a_service_is_left_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of each form that the kubelet knows."""
    assert said({name: LINKS[name]}, caplog) == []


def test_a_setting_of_any_process_is_one(caplog: pytest.LogCaptureFixture) -> None:
    """One environment may serve control plane, watchdog and agent."""
    names = variables_of(ServeSettings()) | variables_of(EnforceSettings())

    assert {"ASKEW_XDS_PORT", "ASKEW_WATCHDOG_SERVICE", "ASKEW_AGENT_STRATEGY"} <= names
    assert said(dict.fromkeys(names, "1"), caplog) == []


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("command", ["serve", "watchdog", "enforce"])
def test_commands_say_it_at_their_start(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before they do anything else: here they all end early."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "bad.yaml").write_text("no such section: {}")
    bad = ["--config", str(tmp_path / "bad.yaml")]
    arguments = {
        "serve": ["--mesh", str(tmp_path / "mesh.yaml"), "--check"],
        "watchdog": ["--kubernetes", *bad],
        "enforce": bad,
    }
    monkeypatch.setenv("ASKEW_HTTP_PROT", "1")
    code = main([command, *arguments[command]])

    assert code == (0 if command == "serve" else 2)
    assert "WARNING askew.stray_variables: ASKEW_HTTP_PROT is no setting" in capsys.readouterr().err
