"""A writer may be killed between any two of its steps; the node is then as it was, or as a lease says."""

from __future__ import annotations

import random
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.fakes.fake_host import ID
from tests.fakes.node_life import CHOICES, CONTAINERS, FOREIGN_VALUES, Choice, NodeLife

FOREIGN_FILES = sorted(FOREIGN_VALUES)


def live_and_die(seed: int) -> int:
    """Live one random life with kills; return how often the writer was killed."""
    source = random.Random(seed)
    life = NodeLife(version=source.choice((1, 2)))
    for _ in range(source.randint(2, 8)):
        kill_after = source.choice((None, source.randint(0, 30), source.randint(0, 6)))
        torn = source.choice((0, 1, 40, 10_000))
        event = source.random()
        if source.random() < 0.3:
            foreigner = (source.choice(CONTAINERS), source.choice(FOREIGN_FILES), source.randint(0, 1))
            life.meanwhile = partial(life.foreign_write, *foreigner)
        if event < 0.6:
            chosen = [(source.choice(CONTAINERS), source.choice(CHOICES)) for _ in range(source.randint(1, 6))]
            life.apply(chosen, ttl_s=source.choice((5.0, 60.0)), kill_after=kill_after, torn=torn)
        elif event < 0.75:
            life.wait(source.choice((1.0, 10.0)), kill_after=kill_after, torn=torn)
        elif event < 0.8:
            life.revert(kill_after=kill_after, torn=torn)
        elif event < 0.93:
            life.foreign_write(source.choice(CONTAINERS), source.choice(FOREIGN_FILES), source.randint(0, 1))
        else:
            life.replace_container(source.choice(CONTAINERS))
        life.check_between() if event < 0.8 else None
    life.check_at_end()
    return life.kills


def test_a_hundred_random_crash_points_leave_every_value_restored_or_adopted() -> None:
    """Whatever the step at which the writer dies, nothing foreign is touched and a revert finds the original host."""
    kills, seed = 0, 0
    while kills < 100:
        kills += live_and_die(seed)
        seed += 1


@pytest.mark.slow
def test_a_thousand_random_crash_points_leave_every_value_restored_or_adopted() -> None:
    """The same, over a thousand kills."""
    kills, seed = 0, 100_000
    while kills < 1000:
        kills += live_and_die(seed)
        seed += 1


def test_every_step_of_one_exchange_may_be_the_last() -> None:
    """All crash points of one exchange between two containers, one after another, none left out."""
    much = [choice for choice in CHOICES if choice.value in (4.0, 3.0, 200_000_000.0, 5.0, 80.0, 4e6)]
    little = [choice for choice in CHOICES if choice.value in (0.5, 1.0, 50_000_000.0, 2.0, 35.0, 1e6)]
    point, killed = 0, True
    while killed:
        life = NodeLife()
        life.apply([(ID, choice) for choice in much], ttl_s=60.0, kill_after=None)
        exchange = [*((ID, choice) for choice in little), *(("web", choice) for choice in much)]
        life.apply(exchange, ttl_s=60.0, kill_after=point, torn=point * 7)
        killed = life.kills > 0
        life.check_between()
        assert life.writer.state.conflicts == ()  # nobody else was there: whatever is found is ours
        life.check_at_end()
        point += 1
    assert point > 15


class KilledWriter(RuleBasedStateMachine):
    """Random orders of action sets, time, foreign writes and kills; Hypothesis shrinks what it finds."""

    kill = st.none() | st.integers(0, 30)
    torn = st.sampled_from((0, 1, 40, 10_000))

    @initialize(version=st.sampled_from((1, 2)))
    def begin(self, version: int) -> None:
        self.life = NodeLife(version=version)
        self.touched = False

    @rule(
        chosen=st.lists(st.tuples(st.sampled_from(CONTAINERS), st.sampled_from(CHOICES)), max_size=5),
        ttl_s=st.sampled_from((5.0, 60.0)),
        kill=kill,
        torn=torn,
    )
    def apply(self, chosen: list, ttl_s: float, kill: int | None, torn: int) -> None:
        self.life.apply(chosen, ttl_s=ttl_s, kill_after=kill, torn=torn)
        self.touched = False

    @rule(seconds=st.sampled_from((1.0, 10.0, 100.0)), kill=kill, torn=torn)
    def wait(self, seconds: float, kill: int | None, torn: int) -> None:
        self.life.wait(seconds, kill_after=kill, torn=torn)
        self.touched = False

    @rule(
        choice=st.sampled_from(CHOICES),
        kill=st.integers(1, 12),
        name=st.sampled_from(CONTAINERS),
        file=st.sampled_from(FOREIGN_FILES),
    )
    def die_and_meet_a_foreigner(self, choice: Choice, kill: int, name: str, file: str) -> None:
        self.life.meanwhile = partial(self.life.foreign_write, name, file, kill)
        self.life.apply([(name, choice)], ttl_s=60.0, kill_after=kill)
        self.touched = False

    @rule(kill=kill, torn=torn)
    def revert(self, kill: int | None, torn: int) -> None:
        self.life.revert(kill_after=kill, torn=torn)
        self.touched = False

    @rule(name=st.sampled_from(CONTAINERS), file=st.sampled_from(FOREIGN_FILES), which=st.integers(0, 1))
    def foreign_write(self, name: str, file: str, which: int) -> None:
        self.life.foreign_write(name, file, which)
        self.touched = True

    @rule(name=st.sampled_from(CONTAINERS))
    def replace_container(self, name: str) -> None:
        self.life.replace_container(name)
        self.touched = True

    @invariant()
    def the_journal_tells_the_truth(self) -> None:
        if hasattr(self, "life") and not self.touched:
            self.life.check_between()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.life.check_at_end()


TestKilledWriter = KilledWriter.TestCase
TestKilledWriter.settings = settings(max_examples=60, stateful_step_count=12, deadline=None, derandomize=True)
