"""Whatever bytes a client sends: no decoder raises, memory keeps to its limits, and the next good message counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from mesh.telemetry import Telemetry
from tests.xds_server.ingest.reports import SHOP, access_logs, collector, load_report, metrics, spans
from xds_server.ingest import access_logs as access_log_service
from xds_server.ingest import load_reports, metrics_service
from xds_server.ingest import spans as span_service
from xds_server.ingest.collector import Collector
from xds_server.ingest.intake import Intake, Kind
from xds_server.ingest.messages import ExportTraceServiceRequest

LOAD = load_report(("10.0.0.1:9080", 5, 4, 1, 2), ("10.0.0.2:9080", 1, 1, 0, 0))
FLUSH = metrics(
    (f"cluster.{SHOP}.upstream_rq_total", 0, 10.0),
    (f"cluster.{SHOP}.upstream_cx_active", 1, 2.0),
    (f"cluster.{SHOP}.upstream_rq_time", 4, ((1.0, 2.0), (1, 2), 3, 5.0)),
)
KINDS: dict[str, tuple[Kind, Any]] = {
    "load_reports": (load_reports.KIND, LOAD),
    "metrics_service": (metrics_service.KIND, FLUSH),
    "access_logs": (access_log_service.KIND, access_logs(http=2)),
    "access_logs_tcp": (access_log_service.KIND, access_logs(tcp=2)),
}
Mutation = Callable[[bytes], bytes]


def _flip(place: int, value: int) -> Mutation:
    return lambda data: data[: place % len(data)] + bytes((value,)) + data[place % len(data) + 1 :] if data else data


def _cut(place: int, length: int) -> Mutation:
    return lambda data: data[: place % (len(data) + 1)] + data[place % (len(data) + 1) + length :]


def _insert(place: int, more: bytes) -> Mutation:
    return lambda data: data[: place % (len(data) + 1)] + more + data[place % (len(data) + 1) :]


places = st.integers(0, 1000)
mutations = st.lists(
    st.one_of(
        st.builds(_flip, places, st.integers(0, 255)),
        st.builds(_cut, places, st.integers(1, 8)),
        st.builds(_insert, places, st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=6,
)


def sane(telemetry: Telemetry) -> bool:
    """Return whether what came of it can be reckoned with."""
    return (
        all(0 <= report.covered_s < 1e6 for report in telemetry.loads)
        and all(load.issued >= 0 and load.address.isprintable() for r in telemetry.loads for load in r.endpoints)
        and all((one.requests or 0) >= 0 for one in telemetry.counters)
        and all(math.isfinite(one.sum_ms) and one.counts[-1] <= one.count for one in telemetry.latencies)
        and all(math.isfinite(one.time_s) and (one.duration_s or 0) >= 0 for one in telemetry.accesses)
        and all(math.isfinite(one.start_s) and one.duration_s >= 0 for one in telemetry.spans)
    )


def receive(kind: Kind, *stream: bytes) -> Collector:
    """Return a small collector after one stream of these bytes."""
    found = collector(most_series=3, most_records=3)
    intake = Intake(found, kind)
    for data in stream:
        for _ in intake.receive(data):
            pass
        assert intake.pause_s(data) >= 0.0
    return found


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_mutated_messages_never_raise(name: str, data: st.DataObject) -> None:
    """Bits flipped, bytes cut out and put in; then a good message counts as ever."""
    kind, good = KINDS[name]
    whole = good.SerializeToString()
    stream = []
    for changes in data.draw(st.lists(mutations, max_size=4)):
        mutated = whole
        for change in changes:
            mutated = change(mutated)
        stream.append(mutated)
    assert sane(receive(kind, whole, *stream).drain())
    after = receive(kind, *stream, whole)
    telemetry = after.drain()
    assert sane(telemetry)
    assert after.messages[kind.source] == len(stream) + 1


@pytest.mark.parametrize("name", KINDS)
@given(stream=st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_never_raise(name: str, stream: list[bytes]) -> None:
    """On a stream that has introduced itself and on one that has not."""
    kind, good = KINDS[name]
    assert sane(receive(kind, *stream).drain())
    assert sane(receive(kind, good.SerializeToString(), *stream).drain())


def _export(found: Collector, data: bytes) -> None:
    try:
        message = ExportTraceServiceRequest.FromString(data)
    except DecodeError:
        return
    reports = found.reports_of("host x", "spans")
    assert reports is not None
    reports.heard_at_s["spans"] = found.now_s()
    for _ in span_service.take(found, reports, message):
        pass


@given(changes=mutations)
def test_mutated_spans_never_raise(changes: list[Mutation]) -> None:
    """The same for exports of spans."""
    data = spans(range(3)).SerializeToString()
    for change in changes:
        data = change(data)
    found = collector(most_records=3)
    _export(found, data)
    assert sane(found.drain())


@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_spans(data: bytes) -> None:
    """Nor do they raise."""
    found = collector(most_records=3)
    _export(found, data)
    assert sane(found.drain())


@pytest.mark.parametrize("name", KINDS)
def test_an_endless_flood_of_names_stays_small(name: str) -> None:
    """Ten thousand different names on one stream leave three of each behind, none longer than the longest allowed."""
    kind, _ = KINDS[name]
    found = collector(most_series=3, most_records=3, burst_bytes=1 << 40)
    intake = Intake(found, kind)
    for index in range(200):
        if kind is load_reports.KIND:
            message: Any = load_report(*((f"10.0.{index}.{i}:9080", 1, 1, 0, 1) for i in range(50)))
        elif kind is metrics_service.KIND:
            message = metrics(*((f"cluster.inbound|{index}|{i}|.upstream_rq_total", 0, 1.0) for i in range(50)))
        else:
            message = access_logs(http=50)
        for _ in intake.receive(message.SerializeToString()):
            pass
    reports = found.reporters["load-1"]
    sizes = (
        len(reports.loads),
        len(reports.busy),
        len(reports.counters),
        len(reports.latencies),
        len(reports.accesses),
    )
    assert max(sizes) <= 3
    assert found.drops()[kind.source, "oldest"] == 9997
