"""Stores with a limit keep the newest; a budget is bytes a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xds_server.ingest.bounded import BoundedMap, BoundedQueue, Budget


def test_a_map_gives_up_what_was_written_longest_ago() -> None:
    """Writing a key again makes it the newest."""
    kept: BoundedMap[str, int] = BoundedMap()
    for key in ("a", "b", "a", "c"):
        kept.put(key, 1, limit=2)
    assert (kept.get("a"), kept.get("b"), kept.get("c"), kept.dropped) == (1, None, 1, 1)


def test_a_queue_is_taken_once() -> None:
    """What was taken does not come again; the oldest gave way."""
    queue: BoundedQueue[int] = BoundedQueue()
    for number in range(5):
        queue.put(number, limit=3)
    assert (list(queue.take()), list(queue.take()), queue.dropped) == ([2, 3, 4], [], 2)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 2)), max_size=60))
def test_a_budget_never_pays_more_than_rate_and_burst(payments: list[tuple[float, float]]) -> None:
    """Whatever is asked when: paid <= burst + rate x time."""
    budget, now_s, paid = Budget(rate=10.0, burst=40.0), 0.0, 0.0
    for amount, later_s in payments:
        now_s += later_s
        paid += amount if budget.pay(amount, now_s=now_s) else 0.0
        assert paid <= 40.0 + 10.0 * now_s + 1e-6


def test_a_budget_pays_after_the_wait_that_it_names() -> None:
    """``wait_s`` is no longer than needed, and long enough."""
    budget = Budget(rate=10.0, burst=40.0)
    assert budget.pay(40.0, now_s=0.0)
    wait_s = budget.wait_s(20.0)
    assert wait_s == 2.0
    assert not budget.pay(20.0, now_s=0.9 * wait_s)
    assert budget.pay(20.0, now_s=wait_s)


def test_a_budget_survives_a_clock_that_runs_back() -> None:
    """Time that runs back pays nothing and takes nothing."""
    budget = Budget(rate=10.0, burst=40.0)
    assert budget.pay(40.0, now_s=5.0)
    assert not budget.pay(1.0, now_s=1.0)
    assert budget.pay(10.0, now_s=2.0)
