"""``askew watchdog``: takes the EnvoyFilters back when no replica of the control plane is ready."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from askew.alive_file import toucher
from askew.cli.kubernetes_session import add_config, session, settings_of
from askew.settings import ServeSettings
from istio.watchdog import Watchdog

HELP = "take our EnvoyFilters back when no replica of the control plane is ready for 10 s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubernetes", action="store_true", required=True, help="watch over a cluster")
    parser.add_argument("--alive", metavar="FILE", help="touch FILE after each look, for a probe")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    asyncio.run(_watch(settings_of(args), toucher(args.alive)))
    return 0


async def _watch(settings: ServeSettings, touch: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT. It takes nothing back when it is itself told to stop."""
    async with session(settings) as client:
        watchdog = Watchdog(client, settings.istio, settings.watchdog, on_look=touch)
        watching = asyncio.create_task(watchdog.run(), name="watchdog")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, watching.cancel)
        with suppress(asyncio.CancelledError):
            await watching
