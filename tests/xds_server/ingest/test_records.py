"""Access records and spans: what is kept, what is dropped, and that each is handed over once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.xds_server.ingest.reports import SHOP, START_S, access_logs, collector, said, spans
from xds_server.ingest import spans as spans_module
from xds_server.ingest.access_logs import KIND
from xds_server.ingest.collector import Collector


def test_entries_become_records_once() -> None:
    """HTTP with status and bytes, TCP without status; the next tick has none of them."""
    found = said(KIND, access_logs(http=1), access_logs(tcp=1))
    http, tcp = found.drain().accesses
    assert (http.status, http.received_bytes, http.sent_bytes, http.duration_s) == (200, 10, 1000, 0.02)
    assert (tcp.protocol, tcp.status, tcp.received_bytes, tcp.sent_bytes, tcp.duration_s) == ("tcp", None, 7, 9, 2.0)
    assert (http.cluster, http.upstream_address, http.time_s) == (SHOP, "10.0.0.1:9080", START_S)
    assert http.sample_rate is None
    assert found.drain().accesses == ()


def test_an_intermediate_entry_of_a_long_connection_is_passed_over() -> None:
    """Its last entry tells all."""
    message = access_logs(tcp=1)
    message.tcp_logs.log_entry[0].common_properties.intermediate_log_entry = True
    found = said(KIND, message)
    assert (found.drain().accesses, found.drops()) == ((), {})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("upstream_cluster", "x" * 600),
        ("upstream_cluster", "a\nb"),
        ("sample_rate", 2.0),
        ("sample_rate", float("nan")),
    ],
)
def test_an_entry_that_makes_no_sense_is_dropped(field: str, value: Any) -> None:
    """Counted; the others of the batch stay."""
    message = access_logs(http=2)
    setattr(message.http_logs.log_entry[0].common_properties, field, value)
    found = said(KIND, message)
    assert found.drops() == {("access_logs", "bad-value"): 1}
    assert len(found.drain().accesses) == 1


@pytest.mark.parametrize("seconds", [0, -5, 1 << 60])
def test_a_time_that_makes_no_sense_is_dropped(seconds: int) -> None:
    """Before 1970, or in a million years."""
    message = access_logs(http=1)
    message.http_logs.log_entry[0].common_properties.start_time.seconds = seconds
    assert said(KIND, message).drops() == {("access_logs", "bad-value"): 1}


def test_the_oldest_records_give_way() -> None:
    """Memory is bounded between two ticks."""
    found = said(KIND, access_logs(http=50), most_records=10)
    assert [record.time_s - START_S for record in found.drain().accesses] == [*range(40, 50)]
    assert found.drops() == {("access_logs", "oldest"): 40}


def kept_spans(message: Any, found: Collector) -> list[bool]:
    """Take an export as if one host had sent it; return which of its spans were kept."""
    reports = found.reports_of("host ipv4:10.0.0.1", "spans")
    assert reports is not None
    reports.heard_at_s["spans"] = found.now_s()
    return list(spans_module.take(found, reports, message))


def test_spans_keep_their_tree() -> None:
    """Ids, parents, service, operation, kind and times."""
    found = collector()
    assert kept_spans(spans(range(2)), found) == [True, True]
    root, child = found.drain().spans
    assert (root.parent_id, child.parent_id) == ("", root.span_id)
    assert (root.trace_id, root.service, root.operation, root.kind) == (
        "0" * 31 + "1",
        "load.default",
        "GET /",
        "client",
    )
    assert (root.start_s, round(root.duration_s, 9), root.failed) == (START_S, 0.005, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trace_id", b""),
        ("trace_id", bytes(16)),
        ("span_id", b"1234567"),
        ("span_id", bytes(8)),
        ("parent_span_id", b"1"),
        ("start_time_unix_nano", 0),
        ("end_time_unix_nano", 1),
        ("end_time_unix_nano", 2**64 - 1),
    ],
)
def test_a_span_that_makes_no_sense_is_dropped(field: str, value: Any) -> None:
    """Counted, and told to the sender by the answer."""
    message = spans(range(2))
    setattr(message.resource_spans[0].scope_spans[0].spans[0], field, value)
    found = collector()
    assert kept_spans(message, found) == [False, True]
    assert found.drops() == {("spans", "bad-value"): 1}


def test_odd_kinds_and_endless_names_are_tamed() -> None:
    """An unknown kind is "unknown"; names are cut and hold no line break."""
    message = spans(range(1), service="a\nb")
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.kind, span.name = 77, "x" * 5000
    found = collector()
    kept_spans(message, found)
    (one,) = found.drain().spans
    assert (one.kind, len(one.operation), one.service) == ("unknown", 512, "a?b")
