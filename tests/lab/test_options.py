"""The lab's command line: bad options in one line, and an orderly end on a signal."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from askew.errors import CommandError
from lab.options import run_until_signal
from tests.lab.command_line import askew_lab


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--seconds", "0"], "argument --seconds: found '0', allowed: seconds from 1 to 86400"),
        (["demo", "--seconds", "soon"], "argument --seconds: found 'soon', allowed: seconds from 1 to 86400"),
        (["demo", "--rate", "-1"], "argument --rate: found '-1', allowed: requests per second from 0.1 to 10000"),
        (["demo", "--cross-node-delay-ms", "0.5"], "found '0.5', allowed: whole milliseconds from 0 to 10000"),
        (["demo", "--app", "bookstore"], "argument --app: invalid choice: 'bookstore'"),
        (["up", "--routing", "local"], "argument --routing: invalid choice: 'local'"),
        (["squeeze", "--strategy", "magic"], "argument --strategy: found 'magic', allowed: askew, parties"),
        (["squeeze", "--target-ms", "nan"], "found 'nan', allowed: milliseconds from 0.1 to 1000000"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_a_bad_option_is_one_line(arguments: list[str], message: str) -> None:
    """Exit code 2, one line on stderr, what was found and what is allowed."""
    ended = askew_lab(*arguments)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["demo", "bench locality", "bench imbalance", "colocate", "squeeze"])
def test_a_report_that_cannot_be_written_is_refused_before_the_run(command: str) -> None:
    """Nobody waits a minute to learn that the folder is not there."""
    ended = askew_lab(*command.split(), "--json", "/nowhere/at/all.json")

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "no such folder" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_work_clean_up(number: signal.Signals) -> None:
    """The work is cancelled, its ``finally`` runs, and the exit code is the shell's for that signal."""
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            cleaned.append(number)

    with pytest.raises(CommandError, match=f"ended by {number.name}") as ended:
        run_until_signal(work())

    assert cleaned == [number]
    assert ended.value.exit_code == 128 + number


def test_without_a_signal_the_result_comes_back() -> None:
    """Nothing else changes."""

    async def work() -> int:
        return 7

    assert run_until_signal(work()) == 7
