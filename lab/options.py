"""Options that the lab's commands share, and how they end: on Ctrl-C and SIGTERM in order, as an error in one line."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from askew.errors import CommandError
from lab.application import Application
from lab.mesh_document import Rates
from lab.topology_file import load_application, names, shipped_file
from mesh.errors import one_line, shown

T = TypeVar("T")
LONGEST_S = 86_400.0


def add_mesh_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that brings a mesh up."""
    parser.add_argument("--app", choices=names(), default="bookinfo", help="the sample application (bookinfo)")
    parser.add_argument("--rate", type=rate, metavar="N", help="requests per second at the entry (the application's)")
    parser.add_argument(
        "--cross-node-delay-ms", type=delay_ms, default=2, metavar="X", help="price of a request between nodes (2)"
    )
    parser.add_argument(
        "--rates",
        choices=get_args(Rates),
        default="learnt",
        help="Askew learns the clients' rates from the sidecars, or has them given in the mesh file (learnt)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of arrivals and service times (1)")


def chosen_application(args: argparse.Namespace) -> Application:
    """Return the application of ``--app`` with the load of ``--rate``."""
    application = load_application(shipped_file(args.app))
    if args.rate is None:
        return application
    return replace(application, load=replace(application.load, requests_per_s=args.rate))


def seconds(text: str) -> float:
    """Return a duration of 1 s to a day. Raises ArgumentTypeError for anything else."""
    return number(text, low=1.0, high=LONGEST_S, allowed="seconds from 1 to 86400")


def rate(text: str) -> float:
    """Return requests per second. Raises ArgumentTypeError for anything else."""
    return number(text, low=0.1, high=10_000.0, allowed="requests per second from 0.1 to 10000")


def delay_ms(text: str) -> int:
    """Return whole milliseconds, which is what Envoy's timers can do. Raises ArgumentTypeError for anything else."""
    if not text.isascii() or not text.isdigit() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: whole milliseconds from 0 to 10000")
    return int(text)


def check_file(option: str, path: Path | None, *, endings: tuple[str, ...] = ()) -> None:
    """Raise CommandError, before anything is measured, for a file that could not be written at the end."""
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise CommandError(one_line(f"{option} {path}: no such folder, allowed: a file in a folder that exists"))
    if endings and path.suffix not in endings:
        raise CommandError(one_line(f"{option}: found {shown(path.name)}, allowed: a name that ends in {endings}"))


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end; SIGINT, SIGTERM and SIGHUP cancel it, so that it can clean up.

    Raises
    ------
    CommandError
        after such a signal, with the shell's exit code for it.
    """
    heard: list[signal.Signals] = []

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: signal.Signals) -> None:
            heard.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end, number)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        name = heard[0].name if heard else "a signal"
        raise CommandError(f"askew lab: ended by {name}", exit_code=128 + (heard[0] if heard else 1)) from None


def number(text: str, *, low: float, high: float, allowed: str) -> float:
    """Return a number of ``low`` to ``high``. Raises ArgumentTypeError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
    return value
