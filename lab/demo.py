"""``askew lab demo``: one mesh under one load, first with equal shares, then local first, and what changed."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lab.application import Application
from lab.envoy_admin import all_inbound_traffic, count_connections
from lab.errors import LabError
from lab.load import LoadGenerator, Window
from lab.machine import cpu_time
from lab.mesh import LabMesh, MeshSettings, run_in_mesh
from lab.mesh_document import ROUTING, Rates
from lab.obedience import watch_change
from lab.options import add_mesh_options, check_file, chosen_application, run_until_signal, seconds
from lab.progress import Teller, teller
from lab.report import DemoReport, Phase
from lab.topology_file import shipped_file
from lab.traffic import (
    between,
    cross_node_byte_share,
    cross_node_request_share,
    lower_bound_cross_node_request_share,
    total,
)
from lab.under_load import learn, under_load

HELP = "equal shares, then local-first, in a mesh of real Envoys; prints what changed"
WARM_UP_S = 3.0
SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How long each window is, and where the report goes besides the terminal."""

    application: Application
    seconds: float = 20.0
    rates: Rates = "learnt"
    cross_node_delay_ms: int = 2
    seed: int = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_mesh_options(parser)
    parser.add_argument("--seconds", type=seconds, default=20.0, metavar="N", help="length of each window (20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")


def run(args: argparse.Namespace) -> int:
    """Run the demo; raise LabError, one line, where something failed, lost requests included."""
    settings = DemoSettings(chosen_application(args), args.seconds, args.rates, args.cross_node_delay_ms, args.seed)
    check_file("--json", args.json)
    with teller() as progress:
        report = run_until_signal(run_demo(settings, progress))
    report.print(Console())
    if args.json is not None:
        report.write(args.json)
    if report.failed:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(report.failures).most_common(3))
        raise LabError(f"{report.failed} requests failed: {reasons}")
    return 0


async def run_demo(settings: DemoSettings, progress: Teller) -> DemoReport:
    """Bring the mesh up, measure both windows, take it down. Raises LabError where a part of it fails."""
    mesh_settings = MeshSettings(
        application=settings.application,
        topology_file=shipped_file(settings.application.name),
        annotations={ROUTING: "uniform"},
        rates=settings.rates,
        cross_node_delay_ms=settings.cross_node_delay_ms,
        seed=settings.seed,
        say=progress.say,
    )
    return await run_in_mesh(mesh_settings, lambda mesh: _scenario(mesh, settings, progress))


async def _scenario(mesh: LabMesh, settings: DemoSettings, progress: Teller) -> DemoReport:
    async with under_load(mesh, seed=settings.seed) as generator:
        return await _measure_both(mesh, generator, settings, progress)


async def _measure_both(
    mesh: LabMesh, generator: LoadGenerator, settings: DemoSettings, progress: Teller
) -> DemoReport:
    await progress.wait("warming up", WARM_UP_S)
    await learn(mesh, progress)
    before, first = await _measure(mesh, generator, progress, name="equal shares", length_s=settings.seconds)
    progress.say("switching to local-first")
    change = generator.open_window("between")
    obedience = await watch_change(
        mesh.clients, lambda: mesh.annotate({ROUTING: "local-first"}), all_acked=mesh.all_acked
    )
    await asyncio.sleep(SETTLE_S)
    after, second = await _measure(mesh, generator, progress, name="local-first", length_s=settings.seconds)
    await generator.drain(change)
    return DemoReport(
        app=mesh.application.name,
        nodes=len(mesh.application.nodes),
        seconds=settings.seconds,
        cross_node_delay_ms=settings.cross_node_delay_ms,
        before=before,
        after=after,
        first_sidecar_s=obedience.first_s,
        last_sidecar_s=obedience.last_s,
        between_requests=change.planned,
        between_failed=change.failed,
        memory_bytes=mesh.children.memory_bytes(),
        failures=dict(first.failures + change.failures + second.failures),
    )


async def _measure(
    mesh: LabMesh, generator: LoadGenerator, progress: Teller, *, name: str, length_s: float
) -> tuple[Phase, Window]:
    """Measure one window: the load's latencies, and the difference of the sidecars' counters over it."""
    start = total(await all_inbound_traffic(mesh.sidecars))
    cpu_start = cpu_time()
    window = generator.open_window(name)
    await progress.wait(f"measuring {name}", length_s)
    generator.open_window("gap")
    cpu_busy_share = cpu_time().busy_share_since(cpu_start)
    traffic = between(start, total(await all_inbound_traffic(mesh.sidecars)))
    connections = await count_connections(mesh.clients)
    await generator.drain(window)
    phase = Phase(
        requests=window.planned,
        failed=window.failed,
        cross_node_request_share=cross_node_request_share(traffic),
        cross_node_byte_share=cross_node_byte_share(traffic),
        p50_ms=window.percentile_ms(50.0),
        p95_ms=window.percentile_ms(95.0),
        p99_ms=window.percentile_ms(99.0),
        connections=connections,
        lower_bound_cross_node_request_share=lower_bound_cross_node_request_share(traffic, mesh.topology),
        mesh_requests=sum(amount.requests for amount in traffic.values()),
        cpu_busy_share=cpu_busy_share,
    )
    return phase, window
