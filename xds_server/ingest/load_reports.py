"""LRS: requests, errors and requests in progress of each endpoint, as the client's sidecar counts them.

A report holds what happened since the one before; here it is added up, so that a tick may come late. Envoy names only
endpoints with something to tell; clusters that are not the mesh's are passed over. gRPC's own clients report whole
clusters; those stand under an empty address.
Source: envoy/service/load_stats/v3/lrs.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import grpc
from envoy.service.load_stats.v3 import lrs_pb2

from mesh.telemetry import EndpointLoad
from xds_server.ingest.collector import Collector, Reports
from xds_server.ingest.intake import Context, Intake, Kind, read_stream
from xds_server.ingest.messages import LoadStatsRequest, seconds_of
from xds_server.ingest.names import is_usable, reporter_of, service_port_of
from xds_server.proxy import Proxy

SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"
TAKES_ALL: Final = "envoy.lrs.supports_send_all_clusters"
SHORTEST_INTERVAL_S: Final = 0.1
LONGEST_INTERVAL_S: Final = 3600.0
ClustersOf = Callable[[Proxy], Iterable[str]]
"""Names a proxy's clusters, for a client that cannot be told "all"."""


class LoadReports:
    """Serves LRS into a collector."""

    def __init__(self, collector: Collector, clusters_of: ClustersOf) -> None:
        self._collector, self._clusters_of = collector, clusters_of

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            SERVICE, {"StreamLoadStats": grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    async def _serve(self, _: object, context: Context) -> None:
        dialogue = _Dialogue(self._collector, self._clusters_of, context)

        async def answer() -> None:
            response = dialogue.answer()
            if response is not None:
                await context.write(response)

        await read_stream(context, dialogue.intake, answer=answer)


class _Dialogue:
    """Says what a client is to report: once, and again when a client that needs names has other clusters."""

    def __init__(self, collector: Collector, clusters_of: ClustersOf, context: Context) -> None:
        self.intake = Intake(collector, KIND, context)
        self._clusters_of = clusters_of
        self._said: bytes | None = None

    def answer(self) -> bytes | None:
        proxy = self.intake.proxy
        takes_all = proxy is not None and TAKES_ALL in proxy.features
        if proxy is None or (takes_all and self._said is not None):
            return None
        response = lrs_pb2.LoadStatsResponse(report_endpoint_granularity=True, send_all_clusters=takes_all)
        interval_s = max(SHORTEST_INTERVAL_S, self.intake.collector.settings.load_report_interval_s)
        response.load_reporting_interval.FromNanoseconds(round(interval_s * 1e9))
        if not takes_all:
            response.clusters.extend(sorted(self._clusters_of(proxy)))
        data: bytes = response.SerializeToString(deterministic=True)
        if data == self._said:
            return None
        self._said = data
        return data


def _node_of(message: Any) -> bytes:
    return bytes(message.node)


def take(collector: Collector, reports: Reports, message: Any, now_s: float) -> Iterator[None]:
    """Add a report to what its proxy has reported before."""
    longest_s, busy = 0.0, set()
    for cluster in message.cluster_stats:
        interval_s = seconds_of(cluster.load_report_interval)
        if not 0.0 <= interval_s <= LONGEST_INTERVAL_S or not is_usable(cluster.cluster_name):
            collector.drop("load_reports", "bad-value")
            continue
        longest_s = max(longest_s, interval_s)
        if reporter_of(cluster.cluster_name) is None:  # the way to Askew itself, a statistics page
            continue
        for address, stats in _endpoints(cluster):
            yield
            if not is_usable(address, may_be_empty=True):
                collector.drop("load_reports", "bad-value")
                continue
            key = (cluster.cluster_name, address)
            reports.loads.put(key, _added(reports.loads.get(key), key, stats), limit=collector.limits.series)
            if stats.total_requests_in_progress:
                busy.add(key)
    for key in reports.busy - busy:
        _at_rest(reports, key)
    reports.busy = {key for key in busy if reports.loads.get(key) is not None}
    if message.cluster_stats:
        reports.load_time_s = now_s
        reports.load_covered_s += longest_s


def _endpoints(cluster: Any) -> Iterator[tuple[str, Any]]:
    for locality in cluster.upstream_locality_stats:
        for endpoint in locality.upstream_endpoint_stats:
            place = endpoint.address.socket_address
            yield f"{place.address}:{place.port_value}", endpoint
        if not locality.upstream_endpoint_stats:
            yield "", locality


def _added(before: EndpointLoad | None, key: tuple[str, str], stats: Any) -> EndpointLoad:
    cluster, address = key
    return EndpointLoad(
        cluster=cluster if before is None else before.cluster,
        service_port=service_port_of(cluster) if before is None else before.service_port,
        address=address,
        issued=stats.total_issued_requests + (before.issued if before else 0),
        succeeded=stats.total_successful_requests + (before.succeeded if before else 0),
        failed=stats.total_error_requests + (before.failed if before else 0),
        in_progress=stats.total_requests_in_progress,
    )


def _at_rest(reports: Reports, key: tuple[str, str]) -> None:
    """An endpoint that was busy and is not mentioned any more has nothing in progress."""
    before = reports.loads.get(key)
    if before is not None:
        reports.loads.replace(key, replace(before, in_progress=0))


KIND: Final = Kind("load_reports", LoadStatsRequest.FromString, _node_of, take)
