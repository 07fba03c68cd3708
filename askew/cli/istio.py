"""``askew istio``: print the objects that make Istio's sidecars obey, and take all of them back."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace
from typing import Any

import yaml

from askew.beside_kubernetes import others_than_least_request, topology_settings
from askew.cli.input_file import parse_file
from askew.cli.kubernetes_session import add_config, session, settings_of
from askew.control_loop import Memory, tick
from askew.errors import CommandError
from askew.settings import ServeSettings
from istio.apply import ALL_KINDS, find_ours, remove_all
from istio.client import KubernetesClient
from istio.cluster import Cluster
from istio.difference import ref_of
from istio.errors import NoSuchObjectError
from istio.integration import MODES, Integration
from istio.kinds import CORE_KINDS, ISTIO_KINDS, Kind
from istio.pruning import key_of, prune
from istio.topology import topology_of
from istio.wanted import sidecar_namespaces, wanted_objects
from mesh.mesh_file import parse_mesh_file
from mesh.telemetry import Telemetry

HELP = "print the Istio objects that would be applied, or take them back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    render = commands.add_parser("render", help="print the objects (YAML) for the Services of a mesh")
    source = render.add_mutually_exclusive_group(required=True)
    source.add_argument("--mesh", metavar="FILE", help="the mesh file (YAML or JSON)")
    source.add_argument("--kubernetes", action="store_true", help="the cluster that kubernetes.* names")
    render.add_argument("--mode", choices=MODES, help="instead of istio.mode")
    add_config(render)
    remove = commands.add_parser("remove", help="take every object of ours out of the cluster")
    remove.add_argument("--dry-run", action="store_true", help="only print what would go")
    add_config(remove)


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.what == "render":
        to = settings.istio if args.mode is None else replace(settings.istio, mode=args.mode)
        objects = asyncio.run(_of_cluster(settings, to)) if args.kubernetes else _of_mesh(args.mesh, to)
        sys.stdout.write(as_yaml(objects))
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


async def _of_cluster(settings: ServeSettings, to: Integration) -> list[dict[str, Any]]:
    """List the cluster once; say on standard error which Services are refused, and why."""
    cluster = Cluster()
    async with session(settings) as client:
        for kind in (*CORE_KINDS, *ISTIO_KINDS):
            await _list_into(cluster, client, kind)
    seen = topology_of(cluster, topology_settings(replace(settings, istio=to)))
    for service, found in seen.findings.items():
        for one in found:
            print(f"{service}: {one}", file=sys.stderr)
    _, _, plan = tick(Memory(), seen.topology, Telemetry())
    others = others_than_least_request(cluster, seen.topology, to)
    clients = sidecar_namespaces(cluster)
    return wanted_objects(to, seen.topology, plan, least_request=others, client_namespaces=clients)


async def _list_into(cluster: Cluster, client: KubernetesClient, kind: Kind) -> None:
    try:
        bodies = await client.list(kind)
    except NoSuchObjectError as error:
        if not error.kind_is_absent:
            raise
        cluster.set_absent(kind, absent=True)
        return
    for body in bodies:
        cluster.put(kind, key_of(body), prune(kind, body))


async def _remove(settings: ServeSettings, *, dry_run: bool) -> int:
    async with session(settings) as client:
        if dry_run:
            for one in await find_ours(client, settings.istio, ALL_KINDS):
                print(f"{ref_of(one)} would go")
            return 0
        outcome = await remove_all(client, settings.istio)
    for ref in outcome.deleted:
        print(f"{ref} removed")
    if outcome.deleted:
        print("a control plane that runs writes them again where a Service is still annotated", file=sys.stderr)
    if outcome.refused:
        raise CommandError("; ".join(f"{ref}: {why}" for ref, why in outcome.refused.items()), exit_code=1)
    if not outcome.deleted:
        print("nothing of Askew's is there")
    return 0
