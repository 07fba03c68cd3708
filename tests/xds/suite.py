"""The conformance suite as a program, for any xDS server.

``python -m tests.xds.suite --target HOST:PORT --admin URL`` tries every rule on the server at HOST:PORT and prints one
line for each; exit 0 if all are kept, 1 if not, 2 if the server cannot be reached. What the server must offer at URL is
in ``tests/xds/control.py``. Without ``--target`` Askew's own server is tried, in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from tests.xds import rules_delta, rules_rest, rules_sotw, rules_streams, rules_subscription, rules_ttl  # noqa: F401
from tests.xds.askew_target import StoreControl, polled, serving
from tests.xds.control import Control, HttpControl
from tests.xds.peer import Variant
from tests.xds.rule import RULES, Rule, try_rule


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one rule on one variant; ``failure`` is None where it is kept."""

    rule: Rule
    variant: Variant
    failure: str | None

    @property
    def id(self) -> str:
        return f"{self.rule.name}[{self.variant}]"


def cases(pattern: str = "*", *, without: Iterable[str] = ()) -> list[tuple[Rule, Variant]]:
    """Return every rule with every variant that it binds, where ``rule(variant)`` matches the shell pattern.

    Rules that need one of the features ``without`` are left out.
    """
    rules = [one for one in RULES.values() if one.needs not in without or not one.needs]
    every = [(one, variant) for one in rules for variant in one.variants]
    return [(one, variant) for one, variant in every if fnmatch.fnmatch(f"{one.name}({variant})", pattern)]


async def run(
    target: str,
    control: Control,
    chosen: Sequence[tuple[Rule, Variant]],
    *,
    rest_url: str = "",
    at_once: int = 16,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Try the rules, ``at_once`` of them side by side, each with a node of its own."""
    places = asyncio.Semaphore(at_once)

    async def one(rule: Rule, variant: Variant) -> Outcome:
        async with places:
            outcome = Outcome(rule, variant, await try_rule(rule, target, control, variant, rest_url=rest_url))
        on_outcome(outcome)
        return outcome

    return list(await asyncio.gather(*(one(rule, variant) for rule, variant in chosen)))


def table() -> list[str]:
    """Return the rules as the lines of a Markdown table, by their place in the specification."""
    lines = ["| place | rule | what a server must do | on |", "|---|---|---|---|"]
    order = list(dict.fromkeys(one.place for one in RULES.values()))
    for one in sorted(RULES.values(), key=lambda one: order.index(one.place)):
        variants = ", ".join(map(str, one.variants)) if len(one.variants) < 4 else "all four"
        lines.append(f"| {one.place} | `{one.name}` | {one.text} | {variants} |")
    return lines


def _line(outcome: Outcome) -> str:
    mark = "ok  " if outcome.failure is None else "FAIL"
    line = f"{mark} {outcome.id:90} {outcome.rule.place}"
    return line if outcome.failure is None else f"{line}\n     {outcome.rule.text}\n     {outcome.failure}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.xds.suite", description=__doc__)
    parser.add_argument("--target", metavar="HOST:PORT", help="the server to try; Askew's own if left out")
    parser.add_argument("--admin", metavar="URL", help="where the server is told what a node should have")
    parser.add_argument("--rest", metavar="URL", help="where the server is polled; polling is left out without it")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="shell pattern over rule(variant)")
    parser.add_argument(
        "--without", default="", metavar="FEATURE,...", help="features that it lacks: ttl, errors, rest"
    )
    parser.add_argument("--at-once", type=int, default=16, metavar="N", help="rules that are tried side by side")
    parser.add_argument("--json", metavar="FILE", help="write the outcomes there too")
    parser.add_argument("--list", action="store_true", help="print the rules as a table (Markdown) and stop")
    arguments = parser.parse_args(argv)
    if (arguments.target is None) != (arguments.admin is None):
        parser.error("--target and --admin belong together")
    return arguments


async def _main(arguments: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        control: Control
        without = {*arguments.without.split(","), *(() if arguments.rest or not arguments.target else ("rest",))}
        if arguments.target:
            target, control, rest_url = arguments.target, HttpControl(arguments.admin), arguments.rest or ""
        else:
            own = StoreControl()
            target, control = await stack.enter_async_context(serving(own)), own
            rest_url = await stack.enter_async_context(polled(own))
        try:
            outcomes = await run(
                target,
                control,
                cases(arguments.only, without=without),
                rest_url=rest_url,
                at_once=arguments.at_once,
                on_outcome=lambda outcome: print(_line(outcome), flush=True),
            )
        except (aiohttp.ClientError, OSError) as error:
            print(f"--admin {arguments.admin}: {error}", file=sys.stderr)
            return 2
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} kept")
    if arguments.json:
        _write(arguments.json, outcomes)
    return 1 if failed else 0


def _write(path: str, outcomes: Iterable[Outcome]) -> None:
    rows = [
        {"rule": one.rule.name, "variant": str(one.variant), "place": one.rule.place, "failure": one.failure}
        for one in outcomes
    ]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite; return the exit code."""
    arguments = _arguments(argv)
    if arguments.list:
        print("\n".join(table()))
        return 0
    return asyncio.run(_main(arguments))


if __name__ == "__main__":
    sys.exit(main())
