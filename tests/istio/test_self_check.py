"""Whether sidecars come for what they should: told once where none has."""

from __future__ import annotations

from istio.self_check import LIMIT_S, UNHEARD, SelfCheck
from istio.standing import LONGEST_MESSAGE
from mesh.topology import ServiceName
from tests.fakes.clock import FakeClock

SHOP, TILL = ServiceName("shop.default"), ServiceName("till.default")
NOBODY = frozenset[ServiceName]()


async def test_silence_is_told_after_a_minute_and_once(clock: FakeClock) -> None:
    """Until then the Service waits; it is news when the time is over, and no news after that."""
    check, news = SelfCheck(), []
    for _ in range(5):
        news.append(check.look([SHOP], NOBODY, now_s=clock()))
        await clock.advance(LIMIT_S / 2)

    assert news == [False, False, True, False, False]
    assert (check.waiting, check.unheard) == (NOBODY, {SHOP})


async def test_one_subscription_is_enough(clock: FakeClock) -> None:
    """Sidecars that are away later are another matter."""
    check = SelfCheck()
    check.look([SHOP, TILL], NOBODY, now_s=clock())
    check.look([SHOP, TILL], frozenset((SHOP,)), now_s=clock())
    await clock.advance(LIMIT_S)
    check.look([SHOP, TILL], NOBODY, now_s=clock())

    assert check.unheard == {TILL}


async def test_who_comes_late_ends_it(clock: FakeClock) -> None:
    """That is news, too."""
    check = SelfCheck()
    check.look([SHOP], NOBODY, now_s=clock())
    await clock.advance(LIMIT_S)
    check.look([SHOP], NOBODY, now_s=clock())

    assert check.look([SHOP], frozenset((SHOP,)), now_s=clock())
    assert check.unheard == NOBODY


async def test_a_service_that_is_steered_again_has_its_time_again(clock: FakeClock) -> None:
    """What was heard of it before was of another filter."""
    check = SelfCheck()
    check.look([SHOP], frozenset((SHOP,)), now_s=clock())
    check.look([], frozenset((SHOP,)), now_s=clock())
    check.look([SHOP], NOBODY, now_s=clock())
    assert check.waiting == {SHOP}
    await clock.advance(LIMIT_S)

    assert check.look([SHOP], NOBODY, now_s=clock())


def test_the_message_fits() -> None:
    """Into a condition and an Event, whole."""
    assert len(UNHEARD) < LONGEST_MESSAGE
