"""The same measurements under the names that Istio's dashboards know, where they mean the same.

They are read from ours at each scrape, so that the two cannot differ. Types are ``cds``, ``eds``, ``lds``, ``rds``, and
Istio's counters carry no ``_total``. Source: Istio, "istiod metrics"; what each means stands in ``docs/interfaces.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from xds_server.resources.names import CDS, EDS, LDS, RDS

SHORT = {CDS: "cds", EDS: "eds", LDS: "lds", RDS: "rds"}
Ours = Counter | Gauge | Histogram


class IstioNames(Collector):
    """Shows metrics of ours once more: Istio's name to ours."""

    def __init__(self, names: Mapping[str, Ours]) -> None:
        self._names = dict(names)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric under its other name."""
        for name, ours in self._names.items():
            for metric in ours.collect():
                yield _renamed(metric, name)

    def describe(self) -> Iterable[Metric]:
        """Return nothing, which tells the registry that no name of ours is new to it before the first scrape."""
        return ()


def _renamed(metric: Metric, name: str) -> Metric:
    # Prometheus' own text writer adds _total to what is a counter; of unknown type, a name stays as it is.
    found = Metric(name, metric.documentation, "unknown" if metric.type == "counter" else metric.type)
    for sample in metric.samples:
        ending = sample.name.removeprefix(metric.name).removeprefix("_total")
        if ending == "_created":
            continue
        labels = {key: SHORT.get(value, value) if key == "type" else value for key, value in sample.labels.items()}
        found.add_sample(name + ending, labels, sample.value)
    return found
