"""The plan: a pure difference in an order that the kernel takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enforcer.cells import Cell, Change, Demand
from enforcer.plan import order_steps, undo_steps, wanted_cells
from tests.fakes.fake_host import host_of, v2_host

KERNEL = host_of(v2_host()).kernel
PARENT, CHILD, LEAF = (Cell("cgroup2/memory.max", path) for path in ("a", "a/b", "a/b/c"))
SMALL, LARGE = "4096", "8192"


def order(observed: dict[Cell, str | None], wanted: dict[Cell, str | None]) -> list[Cell]:
    return [change.cell for step in order_steps(observed, wanted, KERNEL) for change in step]


def test_widening_goes_from_the_parents_down() -> None:
    """A child may not have more than its parent, not even for a moment."""
    assert order(dict.fromkeys((LEAF, CHILD, PARENT), SMALL), dict.fromkeys((LEAF, CHILD, PARENT), LARGE)) == [
        PARENT,
        CHILD,
        LEAF,
    ]


def test_shrinking_goes_from_the_children_up() -> None:
    """The same rule, the other way."""
    assert order(dict.fromkeys((PARENT, CHILD, LEAF), LARGE), dict.fromkeys((PARENT, CHILD, LEAF), SMALL)) == [
        LEAF,
        CHILD,
        PARENT,
    ]


def test_what_is_as_wanted_is_not_written() -> None:
    """No write without a difference."""
    assert order({PARENT: SMALL}, {PARENT: SMALL}) == []


def test_lines_of_one_schemata_are_one_write() -> None:
    """The kernel takes one write whole or not at all."""
    cells = [Cell("resctrl/schemata", group, key) for group in ("askew-a", "askew-b") for key in ("L3", "MB")]
    steps = order_steps(dict.fromkeys(cells), dict.fromkeys(cells, "0=1"), KERNEL)

    assert [[change.cell for change in step] for step in steps] == [cells[:2], cells[2:]]


def test_a_class_is_made_then_set_then_filled_and_the_reverse() -> None:
    """Group, schemata, threads; and threads, then group."""
    group, tasks = Cell("resctrl/group", "askew-a"), Cell("resctrl/tasks", "web")
    schemata = Cell("resctrl/schemata", "askew-a", "L3")
    there = {group: "present", schemata: "0=1", tasks: "askew-a"}
    gone: dict[Cell, str | None] = {group: None, schemata: None, tasks: ""}

    assert order(gone, dict(there)) == [group, schemata, tasks]
    back = order(dict(there), {group: None, schemata: "0=fff", tasks: ""})
    assert back == [schemata, tasks, group]


def test_a_floor_only_widens() -> None:
    """The original stays where it is wider; of two floors the wider counts."""
    assert wanted_cells([Demand(PARENT, SMALL, floor=True)], {PARENT: LARGE}, KERNEL) == {PARENT: LARGE}
    demands = [Demand(PARENT, "16384", floor=True), Demand(PARENT, LARGE, floor=True)]
    assert wanted_cells(demands, {PARENT: SMALL}, KERNEL) == {PARENT: "16384"}


def test_what_nobody_demands_goes_back() -> None:
    """A held cell without a demand is its original again."""
    assert wanted_cells([], {PARENT: LARGE}, KERNEL) == {PARENT: LARGE}


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64)), min_size=3, max_size=3))
def test_no_step_leaves_a_child_with_more_than_its_parent(sizes: list[tuple[int, int]]) -> None:
    """Whatever two states keep the rule, every state between them keeps it too; undone likewise."""
    chain = (PARENT, CHILD, LEAF)
    befores, afters = (sorted((size[i] for size in sizes), reverse=True) for i in (0, 1))
    values = dict(zip(chain, befores, strict=True))
    observed = {cell: str(before * 65536) for cell, before in values.items()}
    wanted = {cell: str(after * 65536) for cell, after in zip(chain, afters, strict=True)}
    steps = order_steps(dict(observed), dict(wanted), KERNEL)
    for step in (*steps, *undo_steps(steps)):
        for change in step:
            assert change.after is not None
            values[change.cell] = int(change.after) // 65536
        assert values[PARENT] >= values[CHILD] >= values[LEAF]

    assert {cell: str(value * 65536) for cell, value in values.items()} == observed


def test_undo_is_the_reverse_in_reverse() -> None:
    """Last first, before and after exchanged."""
    steps = ((Change(PARENT, SMALL, LARGE),), (Change(CHILD, SMALL, LARGE),))

    assert undo_steps(steps) == ((Change(CHILD, LARGE, SMALL),), (Change(PARENT, LARGE, SMALL),))
