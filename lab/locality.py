"""``askew lab bench locality``: what crosses nodes with equal shares, with Askew, and with PreferSameNode, on Envoys.

For every (nodes, replicas, seed) one mesh of real Envoys; in it one window for each policy, one after the other, under
the same load. Shares are learnt from the sidecars: the mesh file holds no rates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from askew.control_loop import TICK_S
from lab.envoy_admin import count_connections, inbound_by_container
from lab.errors import LabError
from lab.load import LoadGenerator
from lab.locality_report import HEADINGS, Cell, Row, make_row, markdown, rows_json, table
from lab.machine import cpu_time
from lab.mesh import LabMesh, MeshSettings, run_in_mesh
from lab.mesh_document import ROUTING
from lab.options import check_file, rate, run_until_signal, seconds
from lab.placing import PLACEMENTS, Placement, placed_topology
from lab.progress import Teller, teller
from lab.topology_file import MOST_NODES, load_application, names, shipped_file
from lab.traffic import between, total
from lab.under_load import learn, under_load

HELP = "bytes across nodes for equal shares, Askew and PreferSameNode, on real Envoys, by nodes and replicas"
WARM_UP_S = 3.0
SETTLE_S = TICK_S + 1.0  # one more tick: the plan has seen what its own change did to the rates
ACKED_S = 4.0 * TICK_S
POLICIES = ("uniform", "askew", "prefer-same-node")
MOST_REPLICAS = 20


@dataclass(frozen=True, slots=True)
class LocalitySettings:
    """The grid, and how long each window is."""

    app: str
    nodes: tuple[int, ...]
    replicas: tuple[int, ...]
    seeds: tuple[int, ...]
    seconds: float
    placement: Placement = "spread"
    requests_per_s: float | None = None

    @property
    def cells(self) -> list[Cell]:
        """All meshes, smallest first within a seed."""
        grid = product(self.seeds, self.replicas, self.nodes)
        return [Cell(self.app, nodes, replicas, self.placement, seed) for seed, replicas, nodes in grid]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", choices=names(), default="social-network", help="the application (social-network)")
    parser.add_argument("--nodes", type=_counts(2, MOST_NODES), default=(3, 5), metavar="N,N", help="nodes (3,5)")
    parser.add_argument(
        "--replicas",
        type=_counts(1, MOST_REPLICAS),
        default=(1, 2, 4, 8),
        metavar="N,N",
        help="containers of every service, stores included (1,2,4,8)",
    )
    parser.add_argument("--placement", choices=PLACEMENTS, default="spread", help="of the containers (spread)")
    parser.add_argument("--seeds", type=_counts(0, 10**6), default=(1,), metavar="N,N", help="of placement, load (1)")
    parser.add_argument("--seconds", type=seconds, default=20.0, metavar="N", help="length of each window (20)")
    parser.add_argument("--rate", type=rate, metavar="N", help="requests per second at the entry (the application's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of one row per cell and policy there")


def run(args: argparse.Namespace) -> int:
    """Run the grid; raise LabError, one line, where something failed, lost requests included."""
    check_file("--json", args.json)
    settings = LocalitySettings(
        args.app, args.nodes, args.replicas, args.seeds, args.seconds, args.placement, args.rate
    )
    rows: list[Row] = []
    with teller() as progress:
        for cell in settings.cells:
            rows += run_until_signal(run_cell(cell, settings, progress))
            if args.json is not None:  # after each cell: a long run that is ended has still measured something
                args.json.write_text(json.dumps(rows_json(rows), indent=1) + "\n", encoding="utf-8")
    _print(rows, settings)
    if failed := sum(row.failed for row in rows):
        raise LabError(f"{failed} requests failed")
    return 0


async def run_cell(cell: Cell, settings: LocalitySettings, progress: Teller) -> list[Row]:
    """Bring one mesh up, measure a window for each policy, take it down. Raises LabError where a part of it fails."""
    progress.say(f"{cell.app}, {cell.nodes} nodes, {cell.replicas} replicas, {cell.placement}, seed {cell.seed}")
    with tempfile.TemporaryDirectory(prefix="askew-locality-") as folder:
        file, switch = Path(folder) / f"{cell.app}.yaml", Path(folder) / "same-node"
        text = shipped_file(cell.app).read_text(encoding="utf-8")
        text = placed_topology(text, nodes=cell.nodes, replicas=cell.replicas, placement=cell.placement, seed=cell.seed)
        file.write_text(_with_rate(text, settings.requests_per_s), encoding="utf-8")
        mesh_settings = MeshSettings(
            application=load_application(file),
            topology_file=file,
            annotations={ROUTING: "uniform"},
            control_plane=("lab.same_node_plane", "--same-node-while", str(switch)),
            seed=cell.seed,
            say=progress.say,
        )
        return await run_in_mesh(mesh_settings, lambda mesh: _scenario(mesh, cell, settings, switch, progress))


async def _scenario(mesh: LabMesh, cell: Cell, settings: LocalitySettings, switch: Path, progress: Teller) -> list[Row]:
    rows = []
    changes: dict[str, Callable[[], None]] = {
        "askew": lambda: mesh.annotate({ROUTING: "local-first"}),
        "prefer-same-node": switch.touch,
    }
    async with under_load(mesh, seed=cell.seed) as generator:
        await progress.wait("warming up", WARM_UP_S)
        await learn(mesh, progress)
        for policy in POLICIES:
            if policy in changes:
                await _change(mesh, changes[policy], policy=policy)
            await progress.wait(f"settling with {policy}", SETTLE_S)
            rows.append(await _measure(mesh, generator, progress, cell, policy=policy, length_s=settings.seconds))
    return rows


async def _change(mesh: LabMesh, change: Callable[[], None], *, policy: str) -> None:
    """Tell the control plane, and wait until all sidecars have what follows; it may be what they had."""
    before = await mesh.generation()
    change()

    async def planned() -> bool:
        return await mesh.generation() != before

    await _comes_true(planned, within_s=2.0 * TICK_S + 1.0)
    if not await _comes_true(mesh.all_acked, within_s=ACKED_S):
        raise LabError(f"not every sidecar has acknowledged {policy} after {ACKED_S:g} s")


async def _comes_true(condition: Callable[[], Awaitable[bool]], *, within_s: float) -> bool:
    until_s = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > until_s:
            return False
        await asyncio.sleep(0.2)
    return True


async def _measure(
    mesh: LabMesh, generator: LoadGenerator, progress: Teller, cell: Cell, *, policy: str, length_s: float
) -> Row:
    start = await inbound_by_container(mesh.sidecars)
    window, cpu_start = generator.open_window(policy), cpu_time()
    await progress.wait(f"measuring {policy}", length_s)
    generator.open_window("gap")
    end = await inbound_by_container(mesh.sidecars)
    connections = await count_connections(mesh.clients)
    cpu_busy_share = cpu_time().busy_share_since(cpu_start)
    await generator.drain(window)
    for reason, count in window.failures.most_common(3):
        progress.say(f"{policy}: {count} requests failed: {reason}")
    of_each = {name: between(total(start[name]), total(end[name])) for name in end}
    return make_row(
        cell,
        mesh.topology,
        total(chain.from_iterable(traffic.items() for traffic in of_each.values())),
        {name: sum(amount.requests for amount in traffic.values()) for name, traffic in of_each.items()},
        policy=policy,
        seconds=length_s,
        failed=window.failed,
        connections=connections,
        cpu_busy_share=cpu_busy_share,
    )


def _with_rate(text: str, requests_per_s: float | None) -> str:
    if requests_per_s is None:
        return text
    document = yaml.safe_load(text)
    document["load"]["requests_per_s"] = requests_per_s
    return yaml.safe_dump(document, sort_keys=False, width=120)


def _print(rows: Sequence[Row], settings: LocalitySettings) -> None:
    console = Console()
    if not console.is_terminal:
        print(markdown(rows))
        return
    shown = Table(title=f"{settings.app}, {settings.placement}, {settings.seconds:g} s each", box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        shown.add_column(heading, justify="right")
    for line in table(rows):
        shown.add_row(*line)
    console.print(shown)


class _counts:
    """Reads whole numbers with commas between them, each from ``low`` to ``high``."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> tuple[int, ...]:
        parts = text.split(",")
        allowed = f"whole numbers from {self._low} to {self._high}, with commas between them, each once"
        if not all(part.isascii() and part.isdigit() for part in parts) or len(set(map(int, parts))) != len(parts):
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
        if not all(self._low <= int(part) <= self._high for part in parts):
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
        return tuple(map(int, parts))
