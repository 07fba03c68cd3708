"""Relative demands: so many CPUs, so many cache ways. All of one kind are laid out together, apart from each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from enforcer.cells import Cell, Demand
from enforcer.cgroup import COUNT, CgroupDriver
from enforcer.cpu_list import format_cpus, parse_cpus, share_out
from enforcer.resctrl_classes import WAYS, ResctrlDriver
from enforcer.schemata import canonical, lay_out_ways


class DoesNotFitError(Exception):
    """The host has fewer CPUs or ways than all leases together ask for; the message says how many."""


def settle(
    demands: Sequence[Demand], held: Mapping[Cell, str], *, cgroup: CgroupDriver, resctrl: ResctrlDriver | None
) -> tuple[Demand, ...]:
    """Return ``demands`` with every relative value made absolute; what is ``held`` moves as little as can be.

    Raises
    ------
    DoesNotFitError
        where there are not enough of them.
    """
    counts = {
        demand.cell: int(demand.value.removeprefix(COUNT)) for demand in demands if demand.value.startswith(COUNT)
    }
    ways = {demand.cell: int(demand.value.removeprefix(WAYS)) for demand in demands if demand.value.startswith(WAYS)}
    values: dict[Cell, str] = {}
    if counts:
        values |= _cpus(counts, held, [demand for demand in demands if demand.cell not in counts], cgroup)
    if ways and resctrl is not None:
        masks = lay_out_ways(ways, _held_masks(ways, held), total_ways=resctrl.total_ways())
        if masks is None:
            raise DoesNotFitError(f"{sum(ways.values())} ways in all: this cache has {resctrl.total_ways()}")
        values |= {cell: resctrl.masks_line(mask) for cell, mask in masks.items()}
    return tuple(
        Demand(demand.cell, values[demand.cell], demand.floor) if demand.cell in values else demand
        for demand in demands
    )


def _cpus(
    counts: Mapping[Cell, int], held: Mapping[Cell, str], others: Iterable[Demand], cgroup: CgroupDriver
) -> dict[Cell, str]:
    taken: set[int] = set()
    for demand in others:
        if demand.cell.kind.endswith("/cpuset.cpus"):
            taken |= parse_cpus(demand.value)
    allowed = {cell: cgroup.cpus_above(cell) for cell in counts}
    chosen = share_out(counts, {cell: parse_cpus(held.get(cell, "")) for cell in counts}, allowed, frozenset(taken))
    if chosen is None:
        there = frozenset().union(*allowed.values())
        raise DoesNotFitError(
            f"{sum(counts.values())} CPUs in all: {len(there - taken)} are to be had ({format_cpus(there - taken)})"
        )
    return {cell: format_cpus(cpus) for cell, cpus in chosen.items()}


def _held_masks(ways: Mapping[Cell, int], held: Mapping[Cell, str]) -> dict[Cell, int]:
    """Return the first domain's mask of each class that has one; all domains have the same."""
    lines = {cell: held[cell] for cell in ways if held.get(cell)}
    return {cell: int(canonical("L3", line.split(";")[0].partition("=")[2]), 16) for cell, line in lines.items()}
