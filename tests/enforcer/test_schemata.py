"""Masks and bandwidths: contiguous, disjoint, and spelt as resctrl spells them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.cpu_list import format_cpus, parse_cpus, share_out
from enforcer.schemata import format_domains, is_contiguous, lay_out_ways, parse_schemata, round_up_percent

WAYS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 6), max_size=6)


@given(ways=WAYS, held=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 2**20 - 1)))
def test_masks_are_contiguous_disjoint_and_as_large_as_asked(ways: dict[str, int], held: dict[str, int]) -> None:
    """Or there are none, and then the ways do not suffice."""
    masks = lay_out_ways(ways, held, total_ways=20)
    if masks is None:
        assert sum(ways.values()) > 20
        return

    assert all(is_contiguous(mask) for mask in masks.values())
    assert {name: mask.bit_count() for name, mask in masks.items()} == ways
    assert sum(masks.values()) == (1 << sum(ways.values())) - 1  # disjoint: their sum is their union


@given(WAYS)
def test_a_layout_that_is_asked_for_again_stays(ways: dict[str, int]) -> None:
    """Nobody's cache is moved without need."""
    masks = lay_out_ways(ways, {}, total_ways=40)
    assert masks is not None

    assert lay_out_ways(ways, masks, total_ways=40) == masks


def test_a_way_that_moves_between_neighbours_moves_alone() -> None:
    """The third keeps its mask."""
    before = lay_out_ways({"a": 4, "b": 4, "c": 4}, {}, total_ways=12)
    assert before is not None
    after = lay_out_ways({"a": 3, "b": 5, "c": 4}, before, total_ways=12)

    assert after is not None
    assert after["c"] == before["c"]


@pytest.mark.parametrize(("percent", "rounded"), [(1, 10), (10, 10), (35, 40), (41, 50), (100, 100)])
def test_bandwidth_is_rounded_up_as_the_kernel_does(percent: float, rounded: int) -> None:
    """35 reads back 40; nothing is below the least."""
    assert round_up_percent(percent, lowest=10, step=10) == rounded


def test_padding_of_the_kernels_text_is_nothing() -> None:
    """It aligns names and numbers."""
    lines = parse_schemata("    L3:0=00f;1=fff\n    MB:0=  50;1= 100\n")

    assert lines == {"L3": {0: "f", 1: "fff"}, "MB": {0: "50", 1: "100"}}
    assert format_domains(lines["MB"]) == "0=50;1=100"


@given(st.frozensets(st.integers(0, 300)))
def test_a_list_of_cpus_survives_the_way_there_and_back(cpus: frozenset[int]) -> None:
    """As text, and as a set again."""
    assert parse_cpus(format_cpus(cpus)) == cpus


@given(counts=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4)), seed=st.integers(0, 255))
def test_cpus_are_shared_out_apart(counts: dict[str, int], seed: int) -> None:
    """Each claimant's number, no CPU twice, none that is taken, and what one holds it keeps."""
    taken = frozenset(cpu for cpu in range(8) if seed >> cpu & 1)
    everywhere = dict.fromkeys(counts, frozenset(range(16)))
    held = {name: frozenset({8 + index}) for index, name in enumerate(sorted(counts))}
    chosen = share_out(counts, held, everywhere, taken)
    if chosen is None:
        assert sum(counts.values()) > 16 - len(taken)
        return

    assert {name: len(cpus) for name, cpus in chosen.items()} == counts
    assert len(frozenset().union(*chosen.values())) == sum(counts.values())
    assert not taken & frozenset().union(*chosen.values())
    assert all(held[name] <= cpus for name, cpus in chosen.items())
