"""What settings may not be, beyond their kind: said before anything starts, so that ``--check`` knows it too."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from askew.errors import CommandError
from askew.pod_placing import SchedulerSettings
from askew.replication.settings import check as check_replication
from askew.settings import LoopSettings, NodeSettings, PrometheusSourceSettings, ServeSettings
from istio import integration
from mesh.errors import BadInputError, one_line
from xds_server.errors import BadSettingsError
from xds_server.ingest.sidecar_pages import check as check_pages
from xds_server.settings import check as check_xds


def check(settings: ServeSettings) -> None:
    """Raise CommandError, one line, for the first setting that cannot work."""
    try:
        check_xds(settings.xds)
        check_pages(settings.ingest)
        integration.check(settings.istio)
        check_replication(settings.replication)
        _check_loop(settings.loop)
        _check_prometheus(settings.prometheus)
        _check_tokens(settings)
        _check_nodes(settings.nodes)
        _check_scheduler(settings.scheduler)
        _check_mtls(settings)
    except (BadSettingsError, BadInputError) as error:
        raise CommandError(one_line(str(error))) from error


def _check_loop(loop: LoopSettings) -> None:
    if not loop.tick_s > 0.0:
        raise BadInputError("loop.tick_s", loop.tick_s, "a number > 0")


def _check_tokens(settings: ServeSettings) -> None:
    wanted = settings.istio.mode == "googleGrpc" and settings.istio.transport == "mtls"
    if wanted and not settings.xds.token_port:
        # Sidecars would be sent to a port that nobody listens on, and new pods would wait for it.
        allowed = "a port: with istio.mode googleGrpc sidecars show tokens (or istio.transport plaintext)"
        raise BadInputError("xds.token_port", settings.xds.token_port, allowed)


def _check_nodes(nodes: NodeSettings) -> None:
    files = {name: getattr(nodes, name) for name in ("certificate_file", "key_file", "ca_file")}
    if any(files.values()) and not all(files.values()):
        missing = ", ".join(f"nodes.{name}" for name, file in files.items() if not file)
        raise CommandError(f"{missing}: found nothing, allowed: a file (mTLS needs certificate, key and authorities)")
    if not re.fullmatch(r"[-._/A-Za-z0-9]{1,317}=[-._A-Za-z0-9]{1,63}", nodes.agent_label):
        raise BadInputError("nodes.agent_label", nodes.agent_label, "KEY=VALUE, a label of pods")
    if not 1 <= nodes.agent_port <= 65535:
        raise BadInputError("nodes.agent_port", nodes.agent_port, "a port from 1 to 65535")


def _check_mtls(settings: ServeSettings) -> None:
    http = settings.http
    names = ("mtls_certificate_file", "mtls_key_file", "mtls_client_ca_file")
    missing = [name for name in names if not getattr(http, name)]
    if 0 < len(missing) < len(names):
        raise BadInputError(f"http.{missing[0]}", None, "a file (mTLS needs certificate, key and client CA)")
    if http.mtls_host and missing and not settings.xds.is_mtls:
        raise BadInputError("http.mtls_host", http.mtls_host, "xds.certificate_file or http.mtls_certificate_file too")


def _check_scheduler(scheduler: SchedulerSettings) -> None:
    if not 0.0 < scheduler.crowded_share <= 1.0:
        raise BadInputError("scheduler.crowded_share", scheduler.crowded_share, "a number > 0 and <= 1")


def _check_prometheus(prometheus: PrometheusSourceSettings) -> None:
    wanted = prometheus.interval_s or prometheus.backfill_h
    if not prometheus.url and wanted:
        raise CommandError("prometheus.url: found nothing, allowed: a URL where interval_s or backfill_h are set")
    try:
        parts = urlsplit(prometheus.url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if prometheus.url and not is_usable:
        raise BadInputError("prometheus.url", prometheus.url, "http://HOST[:PORT][/PREFIX], or https")
