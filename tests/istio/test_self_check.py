"""Whether sidecars come for what they should: told once where none has, and taken back."""

from __future__ import annotations

import pytest

from istio.self_check import (
    HEAR_S,
    LIMIT_S,
    MOST_HANDED,
    RECONNECT_S,
    RETRY_S,
    CheckMemory,
    SelfCheck,
    TakenBack,
    why,
)
from istio.standing import LONGEST_MESSAGE
from mesh.topology import ContainerName, ServiceName
from tests.fakes.clock import FakeClock

WEB_1, WEB_2 = ContainerName("web-1.shop"), ContainerName("web-2.shop")
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


@pytest.mark.parametrize("replicas", [(), ("askew-7d9f8c6b5-abcde", "askew-7d9f8c6b5-fghij")])
@pytest.mark.parametrize("absent", [0, 1, 50])
def test_the_messages_fit(absent: int, replicas: tuple[str, ...]) -> None:
    """Into a condition and an Event, whole, with names as long as Deployments make them."""
    pods = [
        ContainerName(f"productpage-{number:02}-5d8f7c9b6d-abcde.a-namespace-of-a-team") for number in range(absent)
    ]

    assert len(why(pods, replicas)) < LONGEST_MESSAGE


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


async def test_nothing_is_at_stake_while_a_filter_is_taken_back(clock: FakeClock) -> None:
    """For ten minutes; when it is to be tried again there is time to notice."""
    check = SelfCheck()
    for _ in range(2):
        check.look([SHOP], BOTH, NOBODY, now_s=clock())
        await clock.advance(LIMIT_S)

    assert (check.needs([SHOP], NOBODY), check.needs(BOTH, NOBODY)) == (False, True)


def partly(
    check: SelfCheck, now_s: float, *absent: ContainerName, applied: frozenset[ServiceName] = frozenset((SHOP,))
) -> bool:
    """Look while sidecars come for the shop, but not these, which have to."""
    return check.look([SHOP], applied, frozenset((SHOP,)), now_s=now_s, absent=lambda *_: absent)


async def test_a_known_caller_that_does_not_come_is_not_left_without_endpoints(clock: FakeClock) -> None:
    """Though others come: the filter is taken back while it still has time, and a person reads who it was."""
    check = SelfCheck()
    partly(check, clock(), WEB_1, WEB_2)
    await clock.advance(LIMIT_S - 1.0)
    partly(check, clock(), WEB_1, WEB_2)
    early = check.unheard
    await clock.advance(1.0)
    news = partly(check, clock(), WEB_2)

    assert (early, news, check.unheard) == (NOBODY, True, {SHOP})
    assert "Missing: shop/web-2. Look" in check.why(SHOP)


async def test_those_who_have_not_lost_it_yet_do_not_bring_it_back(clock: FakeClock) -> None:
    """Their subscriptions last until istiod has pushed. After its time it is tried again, perhaps in vain."""
    check = SelfCheck()
    partly(check, clock(), WEB_1)
    await clock.advance(LIMIT_S)
    partly(check, clock(), WEB_1)
    partly(check, clock(), WEB_1, applied=NOBODY)
    still = check.unheard
    await clock.advance(RETRY_S)
    partly(check, clock(), WEB_1, applied=NOBODY)
    tried = check.unheard
    partly(check, clock(), WEB_1)
    await clock.advance(LIMIT_S)
    partly(check, clock(), WEB_1)

    assert (still, tried, check.unheard) == ({SHOP}, NOBODY, {SHOP})


async def test_who_comes_before_the_filter_is_gone_keeps_it(clock: FakeClock) -> None:
    """The last one came late, but came."""
    check = SelfCheck()
    partly(check, clock(), WEB_1)
    await clock.advance(LIMIT_S)
    partly(check, clock(), WEB_1)

    assert partly(check, clock())
    assert check.unheard == NOBODY


async def test_once_all_have_come_a_single_one_decides_nothing(clock: FakeClock) -> None:
    """In steady state a pod that cannot reach us is told of, and the others keep their shares."""
    check = SelfCheck()
    partly(check, clock(), WEB_1)
    assert not check.settled(since_s=clock())
    partly(check, clock())
    await clock.advance(10 * LIMIT_S)
    partly(check, clock(), WEB_1)

    assert (check.waiting, check.unheard) == (NOBODY, NOBODY)
    assert check.settled(since_s=clock() - 10 * LIMIT_S) == {SHOP}


async def test_of_a_filter_from_before_us_nobody_is_asked(clock: FakeClock) -> None:
    """That somebody came is enough: who was there when it began is not known any more."""
    check = SelfCheck()
    for _ in range(3):
        check.look([SHOP], BOTH, BOTH, now_s=clock(), inherited=BOTH, absent=lambda *_: (WEB_1,))
        await clock.advance(LIMIT_S + RECONNECT_S)

    assert check.unheard == NOBODY


async def test_a_replica_that_does_not_follow_is_the_first_thing_to_look_at(clock: FakeClock) -> None:
    """Who came to it is not known, so that traffic is left alone; and the message does not name a wrong cause."""
    check = SelfCheck()
    for _ in range(2):
        check.look([SHOP], BOTH, NOBODY, now_s=clock(), silent_replicas=("askew-2",))
        await clock.advance(LIMIT_S)

    assert check.unheard == {SHOP}
    assert "(askew-2): whether a NetworkPolicy is before port 18001" in check.why(SHOP)
    assert "rootNamespace" not in check.why(SHOP)


def handed_over(check: SelfCheck, clock: FakeClock) -> SelfCheck:
    """Return the check of the next leader, whose clock shows something else."""
    return SelfCheck(handed=check.memory(), now_s=clock() + 5000.0, epoch_s=clock())


async def test_a_new_leader_goes_on_with_the_time_that_is_left(clock: FakeClock) -> None:
    """Nobody came to the last one for ten seconds: five are left, not a minute, though the filter is not its own."""
    check = SelfCheck()
    check.look([SHOP], BOTH, NOBODY, now_s=clock())
    await clock.advance(LIMIT_S - HEAR_S)
    new, away_s = handed_over(check, clock), 5000.0
    new.look([SHOP], BOTH, NOBODY, now_s=clock() + away_s, inherited=BOTH)
    early = new.unheard
    await clock.advance(HEAR_S)
    new.look([SHOP], BOTH, NOBODY, now_s=clock() + away_s, inherited=BOTH)

    assert (early, new.unheard) == (NOBODY, {SHOP})


async def test_a_new_leader_hears_its_followers_before_it_judges(clock: FakeClock) -> None:
    """The time was over while nobody led; who has come to others it is told within seconds."""
    check = SelfCheck()
    check.look([SHOP, TILL], BOTH, NOBODY, now_s=clock())
    await clock.advance(LIMIT_S + 5.0)
    new, away_s = handed_over(check, clock), 5000.0
    new.look(BOTH, BOTH, NOBODY, now_s=clock() + away_s, inherited=BOTH)
    early = new.unheard
    await clock.advance(HEAR_S)
    new.look(BOTH, BOTH, frozenset((TILL,)), now_s=clock() + away_s, inherited=BOTH)

    assert (early, new.unheard) == (NOBODY, {SHOP})


async def test_a_new_leader_does_not_try_again_what_was_taken_back(clock: FakeClock) -> None:
    """Before its time: it would be a push to every proxy, and a danger, with each change of leaders."""
    check = SelfCheck()
    partly(check, clock(), WEB_1)
    await clock.advance(LIMIT_S)
    partly(check, clock(), WEB_1)
    await clock.advance(RETRY_S - 100.0)
    new, away_s = handed_over(check, clock), 5000.0
    at_once = new.unheard
    new.look([SHOP], NOBODY, NOBODY, now_s=clock() + away_s)
    await clock.advance(100.0)
    said = new.why(SHOP)
    new.look([SHOP], NOBODY, NOBODY, now_s=clock() + away_s)

    assert (at_once, said, new.unheard) == ({SHOP}, check.why(SHOP), NOBODY)


async def test_a_new_leader_leaves_alone_what_was_well(clock: FakeClock) -> None:
    """All had come; that they are between two replicas now, or one is missing, takes nothing back."""
    check = SelfCheck()
    partly(check, clock())
    new, away_s = handed_over(check, clock), 5000.0
    for _ in range(3):
        new.look([SHOP], BOTH, NOBODY, now_s=clock() + away_s, inherited=BOTH, absent=lambda *_: (WEB_1,))
        await clock.advance(LIMIT_S + RECONNECT_S)

    assert (new.waiting, new.unheard) == (NOBODY, NOBODY)


def test_clocks_that_differ_give_nobody_more_time() -> None:
    """Of another machine: what began in the future begins now, what is to be tried next year is tried in its time."""
    handed = CheckMemory(began_at_s={SHOP: 2000.0}, taken_back={TILL: TakenBack(1e9, "why")})
    check = SelfCheck(handed=handed, now_s=10.0, epoch_s=1000.0)
    check.look(BOTH, frozenset((SHOP,)), NOBODY, now_s=10.0)
    check.look(BOTH, frozenset((SHOP,)), NOBODY, now_s=10.0 + LIMIT_S)
    both = check.unheard
    check.look(BOTH, frozenset((SHOP,)), NOBODY, now_s=10.0 + RETRY_S)

    assert (both, check.unheard) == (BOTH, {SHOP})


def test_of_many_that_wait_only_some_are_handed_over() -> None:
    """With who has come for them; what is said every few seconds stays small."""
    names = frozenset(ServiceName(f"s{number:03}.default") for number in range(MOST_HANDED + 5))
    check = SelfCheck()
    check.look(names, names, NOBODY, now_s=0.0)
    memory = check.memory(lambda services: dict.fromkeys(services, frozenset((WEB_1,))))

    assert list(memory.began_at_s) == list(memory.came) == sorted(names)[:MOST_HANDED]
