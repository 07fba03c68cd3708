"""``askew lab up``: keep a mesh running under load, and print where everything is, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from lab.load import LoadGenerator
from lab.mesh import LabMesh, MeshSettings, run_in_mesh
from lab.mesh_document import ROUTING
from lab.options import add_mesh_options, chosen_application, run_until_signal, seconds
from lab.topology_file import shipped_file
from mesh.policy import ROUTINGS

HELP = "keep a mesh running under load and print its addresses, until Ctrl-C"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_mesh_options(parser)
    parser.add_argument("--seconds", type=seconds, metavar="N", help="end by itself after that (never)")
    parser.add_argument("--routing", choices=ROUTINGS, default="uniform", help="annotation of all services (uniform)")


def run(args: argparse.Namespace) -> int:
    application = chosen_application(args)
    settings = MeshSettings(
        application=application,
        topology_file=shipped_file(args.app),
        annotations={ROUTING: args.routing},
        rates=args.rates,
        cross_node_delay_ms=args.cross_node_delay_ms,
        seed=args.seed,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    run_until_signal(run_in_mesh(settings, lambda mesh: _keep(mesh, length_s=args.seconds, seed=args.seed)))
    return 0


async def _keep(mesh: LabMesh, *, length_s: float | None, seed: int) -> None:
    print("\n".join(_directory(mesh)), flush=True)
    load = mesh.application.load
    mix = {f"/{operation}": part for operation, part in load.mix.items()}
    generator = LoadGenerator(mesh.load_sources, authority=load.service, mix=mix, rng=random.Random(f"load {seed}"))
    try:
        async with asyncio.timeout(length_s):
            await generator.run()
    except TimeoutError:
        window = generator.window
        print(f"{window.planned} requests, {window.failed} failed, p99 {window.percentile_ms(99.0):.1f} ms")


def _directory(mesh: LabMesh) -> list[str]:
    load = mesh.application.load
    lines = [
        f"mesh file      {mesh.mesh_file} (edit it: it is read again within a second)",
        f"control plane  {mesh.http_url}/debug/ and xDS on {mesh.xds_address[0]}:{mesh.xds_address[1]}",
        f"try            curl -H 'Host: {load.service}' http://{mesh.load_sources[0].address}:"
        f"{mesh.load_sources[0].port}/{next(iter(load.mix))}",
        f"{'container':28} {'node':6} {'address':22} {'outbound':22} admin",
    ]
    for name, admin in mesh.sidecars.items():
        container = admin.container
        port = next(iter(container.ports.values()), None)
        address = f"{container.address}:{port}" if port else "-"
        outbound = f"{container.address}:{container.outbound_port}"
        lines.append(f"{name:28} {container.node:6} {address:22} {outbound:22} http://127.0.0.1:{admin.port}")
    return lines
