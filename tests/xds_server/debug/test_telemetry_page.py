"""``/debug/telemetryz``: sources, ages, drops by reason, and one reporter."""

from __future__ import annotations

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, generate_latest

from tests.fakes.clock import FakeClock
from tests.xds_server.ingest.reports import START_S, access_logs, collector, load_report, send
from xds_server.debug import telemetry_page
from xds_server.ingest import access_logs as access_log_service
from xds_server.ingest import load_reports
from xds_server.ingest.collector import Collector, PageFailure
from xds_server.ingest.intake import Intake
from xds_server.ingest.metrics import IngestMetrics


def some() -> Collector:
    """Return a collector that heard one load report 4 s ago, and dropped of each source something."""
    clock = FakeClock(START_S)
    found = collector(clock, most_records=1)
    send(Intake(found, load_reports.KIND), load_report(("10.0.0.1:80", 1, 1, 0, 0)), load_report(who="nobody"))
    send(Intake(found, load_reports.KIND), load_report(who="nobody"))
    clock.now_s += 4
    send(Intake(found, access_log_service.KIND), access_logs(http=3))
    return found


def test_sources_have_ages_and_drops() -> None:
    """A source that nobody uses has no age rather than an age of zero."""
    page = telemetry_page.telemetry_json(some())
    by_source = {one["source"]: one for one in page["sources"]}
    assert (by_source["load_reports"]["messages"], by_source["load_reports"]["oldest_age_s"]) == (3, 4.0)
    assert by_source["load_reports"]["dropped"] == {"unknown-proxy": 1}
    assert by_source["access_logs"]["dropped"] == {"oldest": 2}
    assert by_source["spans"]["oldest_age_s"] is None
    (reporter,) = page["reporters"]
    assert (reporter["reporter"], reporter["endpoints"], reporter["accesses"]) == ("load-1", 1, 1)


def test_what_is_asked_for_says_what_it_is_and_what_fails() -> None:
    """A page that cannot be read stands with its reason; a source may say what of it is in use."""
    found = some()
    found.page_failures["shop-1"] = PageFailure(3, "no answer in 2.0 s")
    found.notes["prometheus"] = "no request times"
    page = telemetry_page.telemetry_json(found)
    assert page["pages_not_read"] == {"shop-1": {"times": 3, "why": "no answer in 2.0 s"}}
    notes = {one["source"]: one["note"] for one in page["sources"] if "note" in one}
    assert notes == {"prometheus": "no request times"}


async def test_the_page_shows_one_reporter_or_404() -> None:
    """By container or by proxy id."""
    app = web.Application()
    app.add_routes(telemetry_page.routes(some()))
    async with TestServer(app) as server, ClientSession() as session:

        async def get(query: str) -> tuple[int, dict[str, object]]:
            async with session.get(server.make_url(f"/debug/telemetryz{query}")) as response:
                return response.status, await response.json()

        assert (await get(""))[1].keys() == {"sources", "limits", "pages_not_read", "reporters"}
        for name in ("load-1", "load-1.default"):
            assert (await get(f"?proxyID={name}"))[1]["reporter"] == "load-1"
        status, answer = await get("?proxyID=nobody")
        assert (status, "nobody" in str(answer["error"])) == (404, True)


def test_prometheus_sees_messages_drops_and_ages() -> None:
    """Labels are sources and reasons only."""
    registry = CollectorRegistry()
    registry.register(IngestMetrics(some()))
    text = generate_latest(registry).decode()
    assert 'askew_telemetry_messages_total{source="load_reports"} 3.0' in text
    assert 'askew_telemetry_dropped_total{reason="oldest",source="access_logs"} 2.0' in text
    assert 'askew_telemetry_age_seconds{source="load_reports"} 4.0' in text
    assert 'age_seconds{source="spans"}' not in text
