"""``/debug/telemetryz``: who reports what, how old it is, and what was dropped and why."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from xds_server.ingest.collector import SOURCES, Collector, Reports


def routes(collector: Collector) -> list[web.RouteDef]:
    """Return the route ``/debug/telemetryz``; ``?proxyID=`` takes a container or ``<container>.<namespace>``."""

    async def telemetryz(request: web.Request) -> web.Response:
        name = request.query.get("proxyID", "")
        if not name:
            return web.json_response(telemetry_json(collector))
        for wanted in (name, name.rpartition(".")[0]):
            if wanted in collector.reporters:
                return web.json_response(_reporter(collector, collector.reporters[wanted]))
        error = f"proxyID: found {name!r}, allowed: a reporter (/debug/telemetryz lists them)"
        return web.json_response({"error": error}, status=404)

    return [web.get("/debug/telemetryz", telemetryz)]


def telemetry_json(collector: Collector) -> dict[str, Any]:
    """Return the whole page."""
    ages, drops = collector.ages_s(), collector.drops()
    sources = []
    for source in SOURCES:
        age = ages.get(source)
        sources.append(
            {
                "source": source,
                "streams": collector.streams[source],
                "reporters": age.reporters if age else 0,
                "messages": collector.messages[source],
                "newest_age_s": round(age.newest_s, 3) if age else None,
                "oldest_age_s": round(age.oldest_s, 3) if age else None,
                **({"note": collector.notes[source]} if source in collector.notes else {}),
                "dropped": {reason: count for (of, reason), count in sorted(drops.items()) if of == source},
            }
        )
    return {
        "sources": sources,
        "limits": {"series": collector.limits.series, "records": collector.limits.records},
        "pages_not_read": {
            name: {"times": one.times, "why": one.why} for name, one in sorted(collector.page_failures.items())
        },
        "reporters": [_reporter(collector, reports) for reports in collector.reporters.values()],
    }


def _reporter(collector: Collector, reports: Reports) -> dict[str, Any]:
    now_s = collector.now_s()
    return {
        "reporter": reports.name,
        "age_s": {source: round(max(0.0, now_s - at_s), 3) for source, at_s in reports.heard_at_s.items()},
        "endpoints": len(reports.loads),
        "clusters": len(reports.counters),
        "histograms": len(reports.latencies),
        "accesses": len(reports.accesses),
        "spans": len(reports.spans),
        "dropped_oldest": {source: count for source in SOURCES if (count := reports.dropped(source))},
    }
