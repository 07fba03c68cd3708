"""The token bucket, on a clock of the test's own."""

from __future__ import annotations

from xds_server.throttle import Throttle


class _Hand:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_goes_through_at_once_and_the_next_waits() -> None:
    """Three at once, then one each half second."""
    clock = _Hand()
    throttle = Throttle(2.0, burst=3, clock=clock)
    for _ in range(3):
        assert throttle.delay_s() == 0.0
        throttle.take()
    assert throttle.delay_s() == 0.5
    clock.now_s += 0.5
    assert throttle.delay_s() == 0.0


def test_an_idle_bucket_fills_up_to_its_burst() -> None:
    """A long rest gives the burst back, and no more than that."""
    clock = _Hand()
    throttle = Throttle(1.0, burst=2, clock=clock)
    for _ in range(2):
        throttle.take()
    clock.now_s += 1000.0
    for _ in range(2):
        assert throttle.delay_s() == 0.0
        throttle.take()
    assert throttle.delay_s() == 1.0


def test_no_rate_is_no_limit() -> None:
    """0 lets everything through."""
    throttle = Throttle(0.0, burst=1, clock=_Hand())
    for _ in range(10_000):
        throttle.take()
    assert throttle.delay_s() == 0.0


async def test_ready_waits_for_a_token() -> None:
    """It returns when the next token is there."""
    throttle = Throttle(200.0, burst=1)
    throttle.take()
    await throttle.ready()
    assert throttle.delay_s() == 0.0
