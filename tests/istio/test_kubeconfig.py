"""A kubeconfig that is wrong is told of in one line without its secrets; a check asks nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from istio.client import check, connect
from istio.errors import CannotConnectError
from istio.settings import KubernetesSettings

SECRET = "secret-of-the-test"
CLUSTER = {"server": "https://127.0.0.1:1"}
USER = {"name": "u", "user": {"token": SECRET}}


def kubeconfig(folder: Path, **over: Any) -> KubernetesSettings:
    """Return settings that lead to a kubeconfig, with some of its keys as ``over`` says."""
    config = {
        "clusters": [{"name": "c", "cluster": CLUSTER}],
        "users": [USER],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    } | {key.replace("_", "-"): value for key, value in over.items()}
    return written(folder, json.dumps(config))


def written(folder: Path, text: str) -> KubernetesSettings:
    """Return settings that lead to a file of this text."""
    (folder / "config").write_text(text)
    return KubernetesSettings(kubeconfig=str(folder / "config"))


@pytest.mark.parametrize("over", [{}, {"users": [USER, {"name": "other", "user": None}]}])
async def test_a_good_one_passes_and_nobody_is_asked(over: dict[str, Any], tmp_path: Path) -> None:
    """Its server is not there; nor does another user's entry matter."""
    await check(kubeconfig(tmp_path, **over))


@pytest.mark.parametrize("plugin", ["exec", "gcp", "oidc"])
async def test_a_check_runs_no_plugin_and_asks_no_cloud(plugin: str, tmp_path: Path) -> None:
    """Whoever gives tokens is asked when it is connected, not before."""
    left = tmp_path / "ran"
    held: dict[str, Any] = {"auth-provider": {"name": plugin, "config": {}}}
    if plugin == "exec":
        command = {"command": "touch", "args": [str(left)], "apiVersion": "client.authentication.k8s.io/v1"}
        held = {"exec": command}
    settings = kubeconfig(tmp_path, users=[{"name": "u", "user": held}])
    await check(settings)

    assert not left.exists()
    if plugin == "exec":
        with pytest.raises(CannotConnectError):
            await connect(settings)
        assert left.exists()


@pytest.mark.parametrize(
    ("over", "found"),
    [
        ({"current_context": "other"}, "Expected object with name other in"),
        ({"users": [{"name": "u", "token": SECRET}]}, "Expected key user in"),
        ({"users": [USER | {"user": SECRET}]}, "a malformed kubeconfig"),
        ({"contexts": [{"name": "x", "context": [SECRET]}]}, "Expected key c"),
        ({"clusters": [{"name": "c", "cluster": CLUSTER | {"certificate-authority": "/none"}}]}, "File does not exist"),
        ({"clusters": [{"name": "c", "cluster": CLUSTER | {"certificate-authority-data": "aGk="}}]}, "no certificate"),
    ],
)
async def test_a_wrong_one_is_told_in_one_line_without_its_secrets(
    over: dict[str, Any], found: str, tmp_path: Path
) -> None:
    """What the library raises for it, and how much of the file it would say, is not what a person gets."""
    settings = kubeconfig(tmp_path, **over)
    for reads in (check, connect):
        with pytest.raises(CannotConnectError) as raised:
            await reads(settings)
        said = str(raised.value)
        assert said.startswith(f"{settings.kubeconfig}: found ")
        assert found in said
        assert said.endswith("allowed: kubernetes.api_server, a kubeconfig, or a pod's service account")
        assert (SECRET in said, "\n" in said) == (False, False)


@pytest.mark.parametrize("text", ["", "hello", "[1, 2]", "users: [unfinished", f"- token: {SECRET}\n   x: {SECRET}"])
async def test_what_is_no_kubeconfig_at_all_is_one_line(text: str, tmp_path: Path) -> None:
    """Empty, a list, no YAML."""
    for reads in (check, connect):
        with pytest.raises(CannotConnectError) as raised:
            await reads(written(tmp_path, text))
        assert (SECRET in str(raised.value), "\n" in str(raised.value)) == (False, False)
