"""``askew bootstrap``: print the Envoy bootstrap of a container's sidecar."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from askew.cli.addresses import host_and_port, port_number
from askew.cli.input_file import parse_file
from askew.errors import CommandError
from mesh.errors import one_line
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Container, ContainerName, Node, NodeName, ServiceName, Topology
from xds_server.resources.bootstrap import render_bootstrap
from xds_server.resources.client_tls import ClientTls, secret_files, with_client_tls
from xds_server.resources.config_source import TRANSPORTS
from xds_server.resources.statistics import STATISTICS

HELP = "print an Envoy bootstrap (YAML) for a container's sidecar"
POD_VARIABLES = ("POD_NAME", "POD_NAMESPACE", "POD_IP", "NODE_NAME")


class QuotingDumper(yaml.SafeDumper):
    """Quotes every string: Envoy reads YAML 1.1, where a bare ``n`` or ``no`` is a boolean."""


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')


QuotingDumper.add_representer(str, _quoted)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--mesh", metavar="FILE", help="the mesh file")
    of.add_argument("--pod", action="store_true", help=f"of the pod that {', '.join(POD_VARIABLES)} name (Kubernetes)")
    parser.add_argument("container", metavar="CONTAINER", nargs="?", help="a container's name in the mesh file")
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
    tls = parser.add_argument_group("mTLS towards the control plane", "all three files, or plaintext")
    tls.add_argument("--certificate", metavar="FILE", help="the sidecar's certificate (PEM); followed when renewed")
    tls.add_argument("--key", metavar="FILE", help="its key (PEM)")
    tls.add_argument("--ca", metavar="FILE", help="the authority of the control plane's certificate (PEM)")
    tls.add_argument("--server-name", metavar="NAME", help="the name in that certificate (the host of --xds)")
    tls.add_argument("--sds-folder", metavar="DIR", help="for two secret files (the folder of --certificate)")


def run(args: argparse.Namespace) -> int:
    tls = _client_tls(args)
    topology, container = _of_pod(os.environ) if args.pod else _of_mesh_file(args.mesh, args.container)
    bootstrap = render_bootstrap(
        topology,
        container,
        xds_address=args.xds,
        admin_port=args.admin_port,
        transport=args.transport,
        rest_address=args.http,
        statistics=args.statistics,
    )
    if tls is not None:
        bootstrap = with_client_tls(bootstrap, tls)
        _write_secrets(tls)
    yaml.dump(bootstrap, sys.stdout, Dumper=QuotingDumper, sort_keys=False, allow_unicode=False)
    return 0


def _of_mesh_file(file: str, name: str | None) -> tuple[Topology, Container]:
    topology = parse_file(file, parse_mesh_file)
    container = topology.container_by_name.get(ContainerName(name or ""))
    if container is None:
        known = ", ".join(sorted(topology.container_by_name)[:8]) or "none there"
        found = "nothing" if name is None else ascii(name)
        raise CommandError(one_line(f"CONTAINER: found {found}, allowed: a container of {file}: {known}"))
    return topology, container


def _of_pod(environment: Mapping[str, str]) -> tuple[Topology, Container]:
    """Return what a pod knows of itself. Its node's zone is not among it: Askew takes that from the API server."""
    values = [environment.get(name, "") for name in POD_VARIABLES]
    for name, value in zip(POD_VARIABLES, values, strict=True):
        if not value or not value.isprintable():
            raise CommandError(one_line(f"{name}: found {value!a}, allowed: the pod's field of the downward API"))
    pod, namespace, address, node = values
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise CommandError(one_line(f"POD_IP: found {address!a}, allowed: an IP address")) from error
    container = Container(ContainerName(pod), ServiceName(f"{pod}.{namespace}"), NodeName(node), address)
    return Topology(nodes=(Node(NodeName(node)),)), container


def _client_tls(args: argparse.Namespace) -> ClientTls | None:
    files = {"--certificate": args.certificate, "--key": args.key, "--ca": args.ca}
    missing = [flag for flag, file in files.items() if not file]
    if len(missing) == len(files):
        return None
    if missing:
        raise CommandError(
            f"{', '.join(missing)}: found nothing, allowed: a file (mTLS needs all of {', '.join(files)})"
        )
    for flag, file in files.items():
        if "\0" in file or not Path(file).is_file():
            raise CommandError(one_line(f"{flag}: found {file!a}, allowed: a file that exists"))
    folder = Path(args.sds_folder) if args.sds_folder else Path(args.certificate).parent
    # Envoy may run in another folder, and it follows links itself: only the beginning is made absolute.
    return ClientTls(
        certificate=str(Path(args.certificate).absolute()),
        key=str(Path(args.key).absolute()),
        ca=str(Path(args.ca).absolute()),
        server_name=args.server_name or args.xds[0],
        folder=str(folder.absolute()),
    )


def _write_secrets(tls: ClientTls) -> None:
    for path, content in secret_files(tls).items():
        try:
            Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise CommandError(
                one_line(f"--sds-folder: found {tls.folder!a} ({why}), allowed: a writable folder")
            ) from error
