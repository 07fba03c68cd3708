"""Which way of measuring is taken, and what is said of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

from askew.link_measuring import measure_cheapest
from mesh.link_measurement import Measurement, Method, Unmeasured
from mesh.topology import Container, ContainerName, NodeName, ServiceName

CART = Container(ContainerName("cart-0"), ServiceName("cart.shop"), NodeName("n1"), "10.0.0.1")
GOOD = Measurement(CART.name, "sockets", 1.0, (), cost_cpu_s=0.001, complete=True)
BAD = Unmeasured(CART.name, "sidecar", "no sidecar")


@dataclass
class Way:
    """A measurer that always gives the same result and counts how often it was asked."""

    result: Measurement | Unmeasured
    asked: int = 0

    @property
    def method(self) -> Method:
        return self.result.method

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        assert (container, window_s) == (CART, 1.0)
        self.asked += 1
        return self.result


async def test_the_first_that_works_is_taken_and_the_dearer_are_not_asked() -> None:
    """Cheapest first; the reasons of those before it are kept."""
    dear = Way(replace(GOOD, method="capture"))
    choice = await measure_cheapest([Way(BAD), Way(GOOD), dear], CART, window_s=1.0)
    assert (choice.measurement, choice.passed_over, dear.asked) == (GOOD, (BAD,), 0)


async def test_a_client_side_view_does_not_do_for_both_sides() -> None:
    """A sidecar sees only the calls that its container makes."""
    sidecar = Way(replace(GOOD, method="sidecar", covers="client"))
    both = await measure_cheapest([sidecar, Way(GOOD)], CART, window_s=1.0)
    client = await measure_cheapest([sidecar, Way(GOOD)], CART, window_s=1.0, sides="client")
    assert (both.measurement, [one.method for one in both.passed_over]) == (GOOD, ["sidecar"])
    assert (client.measurement, client.passed_over) == (sidecar.result, ())


async def test_an_incomplete_measurement_is_better_than_none() -> None:
    """If nothing dearer is complete, the cheapest incomplete one is the answer, and is not listed as passed over."""
    partial = replace(GOOD, complete=False, notes=("3 connections ended unseen",))
    capture = Unmeasured(CART.name, "capture", "not permitted")
    alone = await measure_cheapest([Way(partial), Way(capture)], CART, window_s=1.0)
    assert (alone.measurement, alone.passed_over) == (partial, (capture,))
    better = await measure_cheapest([Way(partial), Way(replace(GOOD, method="capture"))], CART, window_s=1.0)
    assert better.measurement == replace(GOOD, method="capture")
    assert better.passed_over == (Unmeasured(CART.name, "sockets", "incomplete: 3 connections ended unseen"),)


async def test_no_way_is_a_result() -> None:
    """Nothing is made up."""
    choice = await measure_cheapest([Way(BAD)], CART, window_s=1.0)
    assert (choice.measurement, choice.passed_over) == (None, (BAD,))
