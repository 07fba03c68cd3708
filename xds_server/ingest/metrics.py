"""What came in and what was dropped, for Prometheus; read from the collector when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as PrometheusCollector

from xds_server.ingest.collector import SOURCES, Collector


class IngestMetrics(PrometheusCollector):
    """Metrics of a collector. Labels are sources and reasons, never proxies."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        collector = self._collector
        messages = CounterMetricFamily("askew_telemetry_messages", "Messages received.", labels=["source"])
        dropped = CounterMetricFamily(
            "askew_telemetry_dropped", "Messages and samples not taken in, or given up.", labels=["source", "reason"]
        )
        age = GaugeMetricFamily(
            "askew_telemetry_age_seconds", "Since the reporter spoke that was silent longest.", labels=["source"]
        )
        ages = collector.ages_s()
        for source in SOURCES:
            messages.add_metric([source], collector.messages[source])
            if source in ages:
                age.add_metric([source], ages[source].oldest_s)
        for (source, reason), count in sorted(collector.drops().items()):
            dropped.add_metric([source, reason], count)
        yield from (messages, dropped, age)
