"""``askew istio``: print the objects that make Istio's sidecars obey, and take all of them back."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace
from typing import Any

import yaml

from askew.cli.input_file import parse_file
from askew.cli.kubernetes_session import add_config, session, settings_of
from askew.control_loop import Memory, tick
from askew.errors import CommandError
from askew.settings import ServeSettings
from istio.apply import ALL_KINDS, find_ours, remove_all
from istio.difference import ref_of
from istio.integration import MODES, Integration
from istio.wanted import wanted_objects
from mesh.mesh_file import parse_mesh_file
from mesh.telemetry import Telemetry

HELP = "print the Istio objects that would be applied, or take them back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    render = commands.add_parser("render", help="print the objects (YAML) for the Services of a mesh")
    render.add_argument("--mesh", metavar="FILE", required=True, help="the mesh file (YAML or JSON)")
    render.add_argument("--mode", choices=MODES, help="instead of istio.mode")
    add_config(render)
    remove = commands.add_parser("remove", help="take every object of ours out of the cluster")
    remove.add_argument("--dry-run", action="store_true", help="only print what would go")
    add_config(remove)


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.what == "render":
        to = settings.istio if args.mode is None else replace(settings.istio, mode=args.mode)
        sys.stdout.write(as_yaml(_of_mesh(args.mesh, to)))
        return 0
    return asyncio.run(_remove(settings, dry_run=args.dry_run))


def as_yaml(objects: list[dict[str, Any]]) -> str:
    """Return objects as a stream of YAML documents, empty for none."""
    # Envoy and Kubernetes read YAML 1.1 as PyYAML writes it: what could be taken for a boolean is quoted.
    return yaml.safe_dump_all(objects, sort_keys=False) if objects else ""


def _of_mesh(file: str, to: Integration) -> list[dict[str, Any]]:
    topology = parse_file(file, parse_mesh_file)
    _, _, plan = tick(Memory(), topology, Telemetry())
    return wanted_objects(to, topology, plan)


async def _remove(settings: ServeSettings, *, dry_run: bool) -> int:
    async with session(settings) as client:
        if dry_run:
            for one in await find_ours(client, settings.istio, ALL_KINDS):
                print(f"{ref_of(one)} would go")
            return 0
        outcome = await remove_all(client, settings.istio)
    for ref in outcome.deleted:
        print(f"{ref} removed")
    if outcome.refused:
        raise CommandError("; ".join(f"{ref}: {why}" for ref, why in outcome.refused.items()), exit_code=1)
    if not outcome.deleted:
        print("nothing of Askew's is there")
    return 0
