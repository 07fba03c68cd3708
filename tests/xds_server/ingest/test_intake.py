"""Who speaks, what is counted and dropped, and that nobody can take another's part."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from prometheus_client import CollectorRegistry

from tests.fakes.clock import FakeClock
from tests.xds_server.ingest.reports import START_S, collector, load_report, metrics, node, said, send
from xds_server.admission import Admission
from xds_server.errors import RefusePeerError
from xds_server.ingest import access_logs, load_reports, metrics_service
from xds_server.ingest.intake import Intake, Kind
from xds_server.metrics import XdsMetrics
from xds_server.settings import XdsSettings

ONE = ("10.0.0.1:9080", 1, 1, 0, 0)


def test_the_node_of_the_first_message_names_the_stream() -> None:
    """Envoy's metrics and logs carry a node in the first message only."""
    found = said(metrics_service.KIND, metrics(), metrics(("cluster.inbound|80||.upstream_rq_total", 0, 7.0), who=""))
    assert [counters.requests for counters in found.drain().counters] == [7]


def test_a_later_node_changes_nothing() -> None:
    """A stream belongs to who opened it."""
    found = said(load_reports.KIND, load_report(ONE), load_report(ONE, who="load-2.default"))
    assert [report.client for report in found.drain().loads] == ["load-1"]


def test_what_nobody_said_is_dropped_and_the_stream_may_still_introduce_itself() -> None:
    """A message before any node is counted, a node may follow."""
    found = said(load_reports.KIND, load_report(ONE, who=""), load_report(ONE))
    assert found.drops() == {("load_reports", "unidentified"): 1}
    assert found.drain().loads[0].endpoints[0].issued == 1


@pytest.mark.parametrize("who", ["stranger.default", "sidecar~10.0.0.1~nobody.default~x"])
def test_a_stranger_is_dropped(who: str) -> None:
    """Only proxies of the mesh have samples."""
    found = said(load_reports.KIND, load_report(ONE, who=who))
    assert found.drops() == {("load_reports", "unknown-proxy"): 1}
    assert found.drain().loads == ()


def test_istios_node_ids_are_known_too() -> None:
    """``sidecar~ip~pod.namespace~domain`` is the sidecar of that pod."""
    found = said(load_reports.KIND, load_report(ONE, who="sidecar~10.0.0.1~load-2.default~cluster.local"))
    assert found.drain().loads[0].client == "load-2"


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x12\x03\x0a\x01\xff"])
def test_malformed_bytes_are_counted_and_the_stream_lives(data: bytes) -> None:
    """What is no message, or holds text that is no UTF-8, is dropped; the next message counts."""
    found = collector()
    intake = Intake(found, load_reports.KIND)
    assert list(intake.receive(data)) == []
    send(intake, load_report(ONE))
    assert found.drops() == {("load_reports", "malformed"): 1}
    assert len(found.drain().loads) == 1


def test_a_node_without_a_usable_id_is_no_node() -> None:
    """Ids are printable and not endless."""
    for node_id in ("", "a\nb", "x" * 600):
        message = load_report(ONE)
        message.node = node(node_id)
        assert said(load_reports.KIND, message).drops() == {("load_reports", "unidentified"): 1}


@pytest.mark.parametrize("kind", [load_reports.KIND, metrics_service.KIND, access_logs.KIND])
def test_a_budget_is_the_proxys_over_all_its_streams(kind: Kind) -> None:
    """Past it messages are dropped undecoded, on every stream of the proxy; another proxy's go on."""
    clock = FakeClock(START_S)
    found = collector(clock, bytes_per_s=1000, burst_bytes=5000)
    makers = {
        "load_reports": lambda who: load_report(ONE, who=who),
        "metrics_service": lambda who: metrics(who=who),
        "access_logs": lambda who: access_logs.als_pb2.StreamAccessLogsMessage(identifier={"node": {"id": who}}),
    }
    message = makers[kind.source]
    streams = [Intake(found, kind) for _ in range(3)]
    for stream in streams:  # the first message is the stream's own
        send(stream, message("load-1.default"))
    for stream in streams:
        send(stream, message("load-1.default"), message("load-1.default"))
    assert found.drops()[kind.source, "over-budget"] == 4
    assert streams[0].pause_s(b"") > 0
    other = Intake(found, kind)
    send(other, message("load-2.default"))
    assert other.pause_s(b"") == 0
    clock.now_s += 10
    send(streams[0], message("load-1.default"))
    assert found.drops()[kind.source, "over-budget"] == 4


class Shown:
    """A connection with a certificate."""

    def __init__(self, spiffe: str) -> None:
        self.spiffe = spiffe

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"peer_uri": [self.spiffe.encode()]}


@pytest.mark.parametrize(("namespace", "taken"), [("default", True), ("shop", False)])
def test_nobody_reports_in_anothers_name(namespace: str, taken: bool) -> None:
    """Under mTLS the certificate must be the proxy's; a false report would move traffic away from a rival."""
    admission = Admission(XdsSettings(certificate_file="there"), XdsMetrics(CollectorRegistry()))
    found = collector(admission=admission)
    intake = Intake(found, load_reports.KIND, Shown(f"spiffe://cluster.local/ns/{namespace}/sa/load"))

    with nullcontext() if taken else pytest.raises(RefusePeerError, match="allowed: namespace shop"):
        send(intake, load_report(ONE))
    assert bool(found.drain().loads) == taken
    assert found.drops() == ({} if taken else {("load_reports", "refused"): 1})
