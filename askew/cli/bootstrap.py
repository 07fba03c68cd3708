"""``askew bootstrap``: print the Envoy bootstrap of a container's sidecar."""

from __future__ import annotations

import argparse
import sys

import yaml

from askew.cli.addresses import host_and_port, port_number
from askew.cli.input_file import parse_file
from askew.errors import CommandError
from mesh.errors import one_line
from mesh.mesh_file import parse_mesh_file
from xds_server.resources.bootstrap import render_bootstrap
from xds_server.resources.config_source import TRANSPORTS
from xds_server.resources.statistics import STATISTICS

HELP = "print an Envoy bootstrap (YAML) for a container's sidecar"


class QuotingDumper(yaml.SafeDumper):
    """Quotes every string: Envoy reads YAML 1.1, where a bare ``n`` or ``no`` is a boolean."""


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')


QuotingDumper.add_representer(str, _quoted)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mesh", metavar="FILE", required=True, help="the mesh file")
    parser.add_argument("container", metavar="CONTAINER", help="a container's name in it")
    parser.add_argument("--xds", metavar="HOST:PORT", type=host_and_port, default=("127.0.0.1", 18000))
    parser.add_argument("--admin-port", metavar="N", type=port_number, default=15000)
    parser.add_argument("--transport", choices=TRANSPORTS, default="delta", help="the xDS transport")
    parser.add_argument(
        "--http", metavar="HOST:PORT", type=host_and_port, default=("127.0.0.1", 18080), help="for rest"
    )
    parser.add_argument(
        "--statistics",
        choices=STATISTICS,
        help="to Askew every 5 s, or when read (where the node has an agent)",
    )


def run(args: argparse.Namespace) -> int:
    topology = parse_file(args.mesh, parse_mesh_file)
    container = topology.container_by_name.get(args.container)
    if container is None:
        known = ", ".join(sorted(topology.container_by_name)[:8]) or "none there"
        raise CommandError(
            one_line(f"CONTAINER: found {args.container!a}, allowed: a container of {args.mesh}: {known}")
        )
    bootstrap = render_bootstrap(
        topology,
        container,
        xds_address=args.xds,
        admin_port=args.admin_port,
        transport=args.transport,
        rest_address=args.http,
        statistics=args.statistics,
    )
    yaml.dump(bootstrap, sys.stdout, Dumper=QuotingDumper, sort_keys=False, allow_unicode=False)
    return 0
