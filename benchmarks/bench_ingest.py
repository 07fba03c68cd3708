"""What does it cost to take in what sidecars report? Flushes and load reports, against parsing their bytes alone.

The flush is of one sidecar that calls 20 services in three tiers: 60 clusters with what Envoy 1.40 sends of each, 97
histogram bounds, a thousand statistics a message. The load report is of 120 endpoints, with the 60 kB node that Envoy
repeats. "Parsing" is protobuf's C parser alone, for the load report with Envoy's own class.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from mesh.topology import ContainerName
from xds_server.ingest import load_reports, metrics_service
from xds_server.ingest.collector import Collector
from xds_server.ingest.intake import Intake, Kind
from xds_server.ingest.messages import StreamMetricsMessage
from xds_server.ingest.settings import IngestSettings

SERVICES, TIERS, OTHER_STATISTICS, BOUNDS, SIDECARS, BATCH = 20, ("local", "zone", "remote"), 40, 97, 200, 1000
CLUSTERS = [f"outbound|9080|{tier}|s{i}.default.svc.cluster.local" for i in range(SERVICES) for tier in TIERS]
UNLIMITED = replace(IngestSettings(), burst_bytes=1 << 50)


def flush(node: bytes) -> list[bytes]:
    """Return the messages of one flush."""
    messages = [StreamMetricsMessage(identifier={"node": node})]
    for cluster in CLUSTERS:
        names = [(name, kind) for (kind, name) in metrics_service.FIELDS]
        names += [(f"upstream_other_statistic_{i}", 0) for i in range(OTHER_STATISTICS)]
        for name, kind in names:
            if len(messages[-1].envoy_metrics) == BATCH:
                messages.append(StreamMetricsMessage())
            metric = (
                messages[-1].envoy_metrics.add(name=f"cluster.{cluster}.{name}", type=kind).metric.add(timestamp_ms=1)
            )
            if kind == 4:
                _fill(metric.histogram)
            else:
                metric.counter.value = metric.gauge.value = 1000.0
    return [message.SerializeToString() for message in messages]


def _fill(histogram: Any) -> None:
    histogram.sample_count, histogram.sample_sum = BOUNDS, 500.0
    for index in range(BOUNDS):
        histogram.bucket.add(upper_bound=1.1**index, cumulative_count=index)


def load_report() -> bytes:
    """Return a report of two endpoints in each cluster."""
    message = lrs_pb2.LoadStatsRequest(node=node())
    for index, cluster in enumerate(CLUSTERS):
        stats = message.cluster_stats.add(cluster_name=cluster)
        stats.load_report_interval.seconds = 2
        for number in (1, 2):
            one = stats.upstream_locality_stats.add().upstream_endpoint_stats.add(total_issued_requests=5)
            one.address.socket_address.address = f"10.0.{index}.{number}"
    data: bytes = message.SerializeToString()
    return data


def node() -> base_pb2.Node:
    """Return a node with as many extensions as Envoy 1.40 has."""
    found = base_pb2.Node(id="load-1.default")
    for index in range(700):
        found.extensions.add(
            name=f"envoy.extensions.number.{index:04}", category="envoy.some.category"
        ).type_urls.append(f"envoy.extensions.some.package.v3.Extension{index:04}")
    return found


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the CPU seconds of one call, the best of three series."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, (time.process_time() - started) / rounds)
    return best


def taking_in(kind: Kind, messages: list[bytes]) -> tuple[Collector, Callable[[], None]]:
    """Return a collector and a function that lets one sidecar send these messages."""
    collector = Collector(UNLIMITED, identify=lambda proxy: ContainerName("load-1"), now_s=time.time)
    intake = Intake(collector, kind)

    def work() -> None:
        for data in messages:
            for _ in intake.receive(data):
                pass

    return collector, work


def main() -> None:
    pushed, report = flush(node().SerializeToString()), [load_report()]
    _, flushing = taking_in(metrics_service.KIND, pushed)
    _, reporting = taking_in(load_reports.KIND, report)
    parse_flush = seconds(lambda: [StreamMetricsMessage.FromString(data) for data in pushed], 10)
    take_flush = seconds(flushing, 10)
    parse_report = seconds(lambda: lrs_pb2.LoadStatsRequest.FromString(report[0]), 50)
    take_report = seconds(reporting, 50)
    size = sum(map(len, pushed))
    print(f"flush: {size / 1e3:.0f} kB in {len(pushed)} messages, {take_flush * 1e3:.2f} ms, "
          f"{take_flush / parse_flush:.2f} x parsing alone")  # fmt: skip
    print(f"load report: {len(report[0]) / 1e3:.0f} kB, {take_report * 1e3:.2f} ms, "
          f"{take_report / parse_report:.2f} x parsing with Envoy's class alone")  # fmt: skip
    collector = Collector(UNLIMITED, identify=lambda proxy: ContainerName(proxy.id), now_s=time.time)
    for index in range(SIDECARS):
        sender = base_pb2.Node(id=f"sidecar-{index}").SerializeToString()
        intake = Intake(collector, metrics_service.KIND)
        for data in (StreamMetricsMessage(identifier={"node": sender}).SerializeToString(), *pushed):
            for _ in intake.receive(data):
                pass
    drain = seconds(collector.drain, 3)
    print(f"drain: {SIDECARS} sidecars x {len(CLUSTERS)} clusters, {drain * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
