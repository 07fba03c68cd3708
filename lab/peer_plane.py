"""``askew serve`` whose sidecars balance by a policy of Envoy's, or that goes deaf for a while. For comparisons only.

    python -m lab.peer_plane --mesh FILE [--peer NAME] [--deaf-while FILE] [options of askew serve]

While the file of ``--deaf-while`` exists, nothing that sidecars report is heard: telemetry has died, all else goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from askew.cli import serve
from askew.control_plane import ControlPlane
from askew.settings import ServeSettings
from lab.peers import PEERS, balanced_by
from mesh.telemetry import Telemetry
from xds_server.proxy import Proxy
from xds_server.snapshot import Snapshot


class PeerControlPlane(ControlPlane):
    """Ours in everything but how sidecars balance, and whether reports are heard."""

    def __init__(
        self, mesh_file: str, settings: ServeSettings, *, peer: str | None = None, deaf_while: Path | None = None
    ) -> None:
        super().__init__(mesh_file, settings)
        self._peer, self._deaf_while = peer, deaf_while
        self._balanced: dict[str, tuple[Snapshot, Snapshot]] = {}

    def hear(self) -> Telemetry:
        """Return what has been reported; nothing while the file exists."""
        telemetry = super().hear()
        if self._deaf_while is not None and self._deaf_while.exists():
            return Telemetry(time_s=telemetry.time_s)
        return telemetry

    def snapshot_of(self, proxy: Proxy) -> Snapshot | None:
        """Return a proxy's snapshot, balanced by the peer; the same object as before where nothing has changed."""
        whole = super().snapshot_of(proxy)
        if whole is None or self._peer is None:
            return whole
        known = self._balanced.get(proxy.workload_id)
        if known is None or known[0] is not whole:
            known = self._balanced[proxy.workload_id] = whole, balanced_by(self._peer, whole)
        return known[1]


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m lab.peer_plane", description=serve.HELP)
    serve.add_arguments(parser)
    parser.add_argument("--peer", choices=tuple(PEERS))
    parser.add_argument("--deaf-while", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    plane = partial(PeerControlPlane, peer=options.peer, deaf_while=options.deaf_while)
    return serve.run(options, make_plane=plane)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
