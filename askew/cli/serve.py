"""``askew serve``: the control plane."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from askew.cli.addresses import host_and_port
from askew.cli.input_file import parse_file, read_text
from askew.control_plane import ControlPlane
from askew.errors import CommandError
from askew.http_access import TokenFile
from askew.mtls_port import mtls_settings
from askew.settings import ServeSettings, compose_over
from askew.settings_check import check
from askew.stray_variables import warn_of_strays
from mesh.errors import BadInputError, one_line
from mesh.mesh_file import parse_mesh_file
from xds_server.errors import BadSettingsError
from xds_server.settings import XdsSettings
from xds_server.tls import read_certificates

if TYPE_CHECKING:
    from askew.beside_kubernetes import BesideKubernetes

log = logging.getLogger(__name__)
HELP = "run the control plane"
WHOLE_STOP_S = 4.5
MOST_DESCRIPTORS = 1 << 20
IN_A_CLUSTER = "0.0.0.0"  # the kubelet's probes come from elsewhere; the pages still answer loopback or a token alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--mesh", metavar="FILE", help="the mesh file (YAML or JSON), hot-reloaded")
    source.add_argument("--kubernetes", action="store_true", help="the cluster of this pod, or of a kubeconfig")
    parser.add_argument("--config", metavar="FILE", help="settings (YAML)")
    parser.add_argument("--xds", metavar="HOST:PORT", type=host_and_port, help="xDS over gRPC (127.0.0.1:18000)")
    parser.add_argument("--http", metavar="HOST:PORT", type=host_and_port, help="debug, metrics (127.0.0.1:18080)")
    parser.add_argument("--check", action="store_true", help="only read the input; exit 0 or 2")


def run(args: argparse.Namespace, *, make_plane: Callable[[str, ServeSettings], ControlPlane] = ControlPlane) -> int:
    """Serve until a signal. Another control plane than ours, of the same make, is for comparisons."""
    settings = _settings(args)
    if args.check:
        _check_files(settings)
        if args.mesh is not None:
            parse_file(args.mesh, parse_mesh_file)
        else:
            _check_access(settings)
        return 0
    try:
        beside = args.mesh is None
        asyncio.run(_serve(_kubernetes(settings) if beside else make_plane(args.mesh, settings)))
    except* CommandError as group:
        raise group.exceptions[0] from None
    return 0


def _settings(args: argparse.Namespace) -> ServeSettings:
    text = None if args.config is None else read_text(args.config)
    warn_of_strays(os.environ)
    settings = ServeSettings()
    if args.mesh is None:
        settings = replace(settings, http=replace(settings.http, host=IN_A_CLUSTER))
    try:
        settings = compose_over(settings, file_text=text, environment=os.environ)
    except BadInputError as error:
        raise CommandError(one_line(f"{args.config}: {error}")) from error
    if args.xds is not None:
        settings = replace(settings, xds=replace(settings.xds, host=args.xds[0], port=args.xds[1]))
    if args.http is not None:
        settings = replace(settings, http=replace(settings.http, host=args.http[0], port=args.http[1]))
    if args.mesh is None and not settings.http.mtls_host and settings.xds.is_mtls:
        settings = replace(settings, http=replace(settings.http, mtls_host=settings.xds.host))
    check(settings)
    return settings


def _check_files(settings: ServeSettings) -> None:
    """Read the files that the ports would not start without. Raises CommandError as they do."""
    if settings.http.token_file:
        TokenFile(settings.http.token_file).load()
    own = mtls_settings(settings) if settings.http.mtls_certificate_file else None
    try:
        for section, files in (("xds.", settings.xds if settings.xds.is_mtls else None), ("http.mtls_", own)):
            if files is not None:
                _check_certificates(files, section)
    except BadSettingsError as error:
        raise CommandError(one_line(str(error))) from error


def _check_certificates(files: XdsSettings, section: str) -> None:
    read_certificates(files.certificate_file, files.key_file, files.client_ca_file, section=section)


def _check_access(settings: ServeSettings) -> None:
    """Read how the cluster is reached. Raises CommandError where ``serve`` would; nobody is asked."""
    from istio.client import check as check_access
    from istio.errors import CannotConnectError

    try:
        asyncio.run(check_access(settings.kubernetes))
    except CannotConnectError as error:
        raise CommandError(one_line(str(error))) from error


def raise_descriptors() -> None:
    """Take as many descriptors as we may have: each sidecar is a connection, and of old a process begins with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(root: ControlPlane | BesideKubernetes) -> None:
    """Run the control plane until SIGTERM or SIGINT; then it has a limited time to stop."""
    # Thousands of long-lived clients make Python's full collections dear, and the server makes next to no cycles.
    gc.set_threshold(50_000, 50, 100)
    raise_descriptors()
    plane = asyncio.create_task(root.run(), name="control-plane")
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        log.info("%s: stopping; sidecars keep what they have", number.name)
        plane.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    with suppress(asyncio.CancelledError):
        await plane
    log.info("stopped")


def _kubernetes(settings: ServeSettings) -> BesideKubernetes:
    # The client library takes half a second to load, which a mesh file need not pay for.
    from askew.beside_kubernetes import BesideKubernetes

    return BesideKubernetes(settings)
