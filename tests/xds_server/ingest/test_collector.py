"""Bounded for each reporter, fair among all, and told what was given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.xds_server.ingest.reports import START_S, access_logs, collector, load_report, said, send
from xds_server.ingest import access_logs as access_log_service
from xds_server.ingest import load_reports
from xds_server.ingest.intake import Intake


def test_a_tick_that_is_lost_costs_nothing_of_what_is_cumulative() -> None:
    """Loads are there again at the next drain, with the same numbers."""
    found = said(load_reports.KIND, load_report(("10.0.0.1:80", 3, 3, 0, 0)))
    assert found.drain().loads == found.drain().loads != ()


def test_a_silent_proxy_is_forgotten_and_what_it_lost_stays_counted() -> None:
    """After ``forget_s`` its samples are gone; the count of drops never falls."""
    clock = FakeClock(START_S)
    found = collector(clock, forget_s=60.0, most_records=1)
    send(Intake(found, access_log_service.KIND), access_logs(http=3))
    clock.now_s += 59
    found.drain()
    assert len(found.reporters) == 1
    clock.now_s += 2
    found.drain()
    assert found.reporters == {}
    assert found.drops() == {("access_logs", "oldest"): 2}


def test_one_proxy_cannot_push_out_anothers_records() -> None:
    """The talker loses its own oldest."""
    found = collector(most_records=10)
    quiet, talker = Intake(found, access_log_service.KIND), Intake(found, access_log_service.KIND)
    send(quiet, access_logs(http=2, who="load-2.default"))
    send(talker, access_logs(http=500))
    records = found.drain().accesses
    assert [sum(record.container == name for record in records) for name in ("load-1", "load-2")] == [10, 2]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_all_together_keep_no_more_than_the_whole(talk: list[int]) -> None:
    """Whoever comes in whatever order and says however much: the sum is bounded, and each has an equal part."""
    found = collector(most_records=20, most_records_in_all=64, most_series=20, most_series_in_all=64)
    for index, count in enumerate(talk):
        reports = found.reports_of(f"sidecar-{index}", "access_logs")
        assert reports is not None
        list(access_log_service.take(found, reports, access_logs(http=count), 0.0))
        list(
            load_reports.take(found, reports, load_report(*((f"10.0.0.{i}:80", 1, 1, 0, 0) for i in range(count))), 1.0)
        )
    kept = [len(reports.accesses) for reports in found.reporters.values()]
    series = [len(reports.loads) for reports in found.reporters.values()]
    for sizes in (kept, series):
        assert sum(sizes) <= 64
        assert max(sizes) <= max(1, 64 // len(talk), found.limits.records)
    assert sum(kept) + found.drops()["access_logs", "oldest"] == sum(talk)


def test_there_is_a_limit_of_reporters() -> None:
    """Another one is refused and counted until one is forgotten."""
    found = collector(most_reporters=2)
    assert [found.reports_of(f"host {i}", "spans") is not None for i in range(3)] == [True, True, False]
    assert found.drops() == {("spans", "too-many-reporters"): 1}


def test_ages_are_of_each_source() -> None:
    """How many report, and how long the last and the most silent one have been quiet."""
    clock = FakeClock(START_S)
    found = collector(clock)
    send(Intake(found, load_reports.KIND), load_report(who="load-1.default"))
    clock.now_s += 3
    send(Intake(found, load_reports.KIND), load_report(who="load-2.default"))
    clock.now_s += 1
    ages = found.ages_s()
    assert ages.keys() == {"load_reports"}
    assert (ages["load_reports"].reporters, ages["load_reports"].newest_s, ages["load_reports"].oldest_s) == (
        2,
        1.0,
        4.0,
    )
