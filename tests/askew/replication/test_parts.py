"""A value in parts: whoever reads all changes has what was written, and what did not change costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew.control_loop import Memory
from askew.replication.errors import CodecError
from askew.replication.parts import PartReader, PartWriter
from askew.replication.value_codec import compressed
from askew.replication.wire import Decided, Reign, StateDecoder, StateEncoder
from estimators.client_rates import KnownRates
from mesh.picture import Picture
from mesh.plan import Plan, ServicePlan
from mesh.shares import Shares
from mesh.topology import ContainerName, ServiceName, ServicePort

SHOP, CART = (ServicePort(ServiceName(f"{name}.default"), 80) for name in ("shop", "cart"))


@dataclass(frozen=True)
class Inner:
    """What stands inside."""

    counts: Mapping[ServicePort, tuple[int, ...]] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Outer:
    """Mappings at two depths, and a field that is none."""

    inner: Inner = field(default_factory=Inner)
    names: Mapping[str, Inner] = field(default_factory=dict)
    links: tuple[str, ...] = ()


inners = st.builds(
    Inner,
    st.dictionaries(st.sampled_from([SHOP, CART]), st.lists(st.integers(), max_size=2).map(tuple)),
    st.text(max_size=3),
)
outers = st.builds(
    Outer, inners, st.dictionaries(st.text(max_size=2), inners, max_size=3), st.lists(st.text(max_size=2)).map(tuple)
)


@given(st.lists(outers, min_size=1, max_size=6), st.data())
def test_changes_add_up_to_the_value(values: list[Outer], data: st.DataObject) -> None:
    """After any sequence; who comes in between with the whole, too."""
    writer, early, late = PartWriter(Outer), PartReader(Outer), PartReader(Outer)
    comes = data.draw(st.integers(0, len(values) - 1))
    for i, value in enumerate(values):
        changes = writer.changes(value)
        assert early.take(changes, is_whole=i == 0) == value
        if i >= comes:
            assert late.take(writer.whole() if i == comes else changes, is_whole=i == comes) == value


def test_what_did_not_change_is_not_told_and_stays_the_same_object() -> None:
    """One entry of many: its own few bytes; the others are the objects that they were."""
    names = {f"name-{i}": Inner({SHOP: (i,)}, f"title {i}") for i in range(500)}
    writer, reader = PartWriter(Outer), PartReader(Outer)
    first = writer.changes(Outer(names=names))
    before = reader.take(first, is_whole=True)
    equal = {name: replace(one) for name, one in names.items()}
    second = writer.changes(Outer(names={**equal, "name-7": Inner(title="new")}))
    after = reader.take(second, is_whole=False)

    assert len(second) < len(first) / 20
    assert [name for name in names if after.names[name] is not before.names[name]] == ["name-7"]


def test_arrays_are_told_anew() -> None:
    """Of two arrays nobody says whether they are equal: nothing is guessed."""

    writer, reader = PartWriter(Arrays), PartReader(Arrays)
    for i, size in enumerate((2, 2, 3)):
        told = reader.take(writer.changes(Arrays({"a": np.full(size, float(i))})), is_whole=i == 0)
        assert told.by_name["a"].tolist() == [float(i)] * size


@dataclass(frozen=True)
class Arrays:
    """Arrays by name."""

    by_name: Mapping[str, NDArray[np.float64]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[[],[]]",
        '[[[".links","",1]],[]]',
        '[[[".other","",[]]],[]]',
        '[[],[[".names","gone"]]]',
        "[[[1]],[]]",
    ],
)
def test_what_tells_of_no_such_value_is_refused(text: str) -> None:
    """One error, whatever came: other fields, other types, an entry that was never told."""
    with pytest.raises(CodecError, match="Outer"):
        PartReader(Outer).take(compressed(text), is_whole=True)


def decided(sequence: int, rate: float) -> Decided:
    """Return a tick whose memory holds its plan, as a planner leaves it."""
    shares = Shares((ContainerName("web-1"),), (ContainerName("shop-1"),), np.ones((1, 1)))
    plan = Plan(sequence, {SHOP: ServicePlan(SHOP, shares, {}, {}, 1.0, 0.0, 0.0, "endpoint-weights", "why")})
    memory = Memory(rates=KnownRates(changing_since_s={SHOP: rate}))
    memory = replace(memory, plan=replace(memory.plan, plan=plan))
    return Decided("a", Reign(1, sequence), plan, Picture(), memory)


def test_a_tick_comes_whole_and_then_as_changes() -> None:
    """The plan that memory holds, too, is told once and is the same one on the other side."""
    encoder, decoder = StateEncoder(), StateDecoder()
    for sequence in (1, 2):
        state = encoder.changes(decided(sequence, 7.0 + sequence))
        heard = decoder.decided(state)
        assert state.base == sequence - 1
        assert heard.memory is not None
        assert heard.memory.plan.plan is heard.plan
        assert heard.memory.rates.changing_since_s == {SHOP: 7.0 + sequence}
        assert heard.reign == Reign(1, sequence)


def test_changes_to_something_else_are_refused() -> None:
    """Who missed a tick must not apply the next one's changes; it comes again, and is told the whole."""
    encoder, decoder = StateEncoder(), StateDecoder()
    decoder.decided(encoder.changes(decided(1, 1.0)))
    encoder.changes(decided(2, 2.0))
    with pytest.raises(CodecError, match="changes to state 2, allowed: to 1"):
        decoder.decided(encoder.changes(decided(3, 3.0)))
    heard = StateDecoder().decided(encoder.whole())
    assert heard.memory is not None
    assert heard.memory.rates.changing_since_s == {SHOP: 3.0}
