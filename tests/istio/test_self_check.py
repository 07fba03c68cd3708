"""Whether sidecars come for what they should: told once where none has, and taken back."""

from __future__ import annotations

from istio.self_check import LIMIT_S, RECONNECT_S, RETRY_S, UNHEARD, SelfCheck
from istio.standing import LONGEST_MESSAGE
from mesh.topology import ServiceName
from tests.fakes.clock import FakeClock

SHOP, TILL = ServiceName("shop.default"), ServiceName("till.default")
NOBODY = frozenset[ServiceName]()
BOTH = frozenset((SHOP, TILL))


async def test_silence_is_told_when_the_time_is_over_and_once(clock: FakeClock) -> None:
    """Until then the Service waits; it is news when the time is over, and no news after that."""
    check, news = SelfCheck(), []
    for _ in range(5):
        news.append(check.look([SHOP], BOTH, NOBODY, now_s=clock()))
        await clock.advance(LIMIT_S / 2)

    assert news == [False, False, True, False, False]
    assert (check.waiting, check.unheard) == (NOBODY, {SHOP})


async def test_what_was_taken_back_stays_so_until_it_is_tried_again(clock: FakeClock) -> None:
    """Its filter is gone, it is still unheard; then it has its time again."""
    check = SelfCheck()
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    await clock.advance(LIMIT_S)
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    await clock.advance(RETRY_S - 1.0)
    assert not check.look([SHOP], NOBODY, NOBODY, now_s=clock())
    await clock.advance(1.0)

    assert check.look([SHOP], NOBODY, NOBODY, now_s=clock())
    assert check.unheard == NOBODY
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    assert check.waiting == {SHOP}


async def test_who_was_waited_for_is_news(clock: FakeClock) -> None:
    """What a former leader said of the Service holds no more."""
    check = SelfCheck()
    check.look([SHOP], BOTH, NOBODY, now_s=clock())

    assert check.look([SHOP], BOTH, frozenset((SHOP,)), now_s=clock())
    assert not check.look([SHOP], BOTH, frozenset((SHOP,)), now_s=clock())


async def test_one_subscription_is_enough(clock: FakeClock) -> None:
    """Sidecars that are away later are another matter."""
    check = SelfCheck()
    check.look([SHOP, TILL], BOTH, NOBODY, now_s=clock())
    check.look([SHOP, TILL], BOTH, frozenset((SHOP,)), now_s=clock())
    await clock.advance(LIMIT_S)
    check.look([SHOP, TILL], BOTH, NOBODY, now_s=clock())

    assert check.unheard == {TILL}


async def test_who_comes_late_ends_it(clock: FakeClock) -> None:
    """That is news, too; also where the filter is gone already."""
    check = SelfCheck()
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    await clock.advance(LIMIT_S)
    check.look([SHOP], BOTH, NOBODY, now_s=clock())

    assert check.look([SHOP], NOBODY, frozenset((SHOP,)), now_s=clock())
    assert check.unheard == NOBODY


async def test_a_service_that_nobody_wants_steered_is_forgotten(clock: FakeClock) -> None:
    """Annotated again, it has its time at once."""
    check = SelfCheck()
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    await clock.advance(LIMIT_S)
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    check.look([], NOBODY, NOBODY, now_s=clock())
    check.look([SHOP], BOTH, NOBODY, now_s=clock())

    assert (check.waiting, check.unheard) == ({SHOP}, NOBODY)


async def test_a_service_that_is_steered_again_has_its_time_again(clock: FakeClock) -> None:
    """What was heard of it before was of another filter."""
    check = SelfCheck()
    check.look([SHOP], BOTH, frozenset((SHOP,)), now_s=clock())
    check.look([], BOTH, frozenset((SHOP,)), now_s=clock())
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    assert check.waiting == {SHOP}
    await clock.advance(LIMIT_S)

    assert check.look([SHOP], BOTH, NOBODY, now_s=clock())


def test_the_message_fits() -> None:
    """Into a condition and an Event, whole."""
    assert len(UNHEARD) < LONGEST_MESSAGE


async def test_a_filter_from_before_us_has_the_time_of_a_lost_stream(clock: FakeClock) -> None:
    """After an outage sidecars come back within half a minute: until then nothing flaps. Ours have less."""
    check = SelfCheck()
    inherited = frozenset((SHOP,))
    check.look(BOTH, BOTH, NOBODY, now_s=clock(), inherited=inherited)
    await clock.advance(LIMIT_S)
    check.look(BOTH, BOTH, NOBODY, now_s=clock(), inherited=inherited)
    early = check.unheard
    await clock.advance(RECONNECT_S)
    check.look(BOTH, BOTH, NOBODY, now_s=clock(), inherited=inherited)

    assert (early, check.unheard) == ({TILL}, BOTH)


async def test_who_asks_matters_until_all_have_come(clock: FakeClock) -> None:
    """To count every sidecar's subscriptions again and again costs; once is enough, while the filters are there."""
    check = SelfCheck()
    check.look(BOTH, BOTH, frozenset((SHOP,)), now_s=clock())
    before = check.needs(BOTH, BOTH)
    check.look(BOTH, BOTH, BOTH, now_s=clock())

    assert (before, check.needs(BOTH, BOTH), check.needs(BOTH, NOBODY)) == (True, False, True)
