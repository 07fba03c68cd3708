"""The checks of ``conftest.py`` bite: each is shown to fail what it is there to fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[1]


def run(pytester: pytest.Pytester, test: str) -> pytest.RunResult:
    """Run one test file under our own ``conftest.py`` and settings, in a process of its own."""
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess(
        "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-p", "tests.conftest", "-p", "no:cacheprovider",
        str(pytester.path),
    )  # fmt: skip


def test_a_task_that_outlives_its_test_fails_it(pytester: pytest.Pytester) -> None:
    """A pending task at the end of a test is an error that names the task; a finished or cancelled one is none."""
    result = run(
        pytester,
        """
        import asyncio

        async def test_leaks():
            leaked = asyncio.create_task(asyncio.sleep(3600), name="the-leak")

        async def test_tidy():
            task = asyncio.create_task(asyncio.sleep(3600))
            await asyncio.sleep(0)
            task.cancel()
        """,
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*tasks still pending at the end of the test: the-leak*"])


def test_a_warning_fails_its_test(pytester: pytest.Pytester) -> None:
    """Warnings are errors, also the one about a coroutine that nobody awaited."""
    result = run(
        pytester,
        """
        import warnings

        def test_warns():
            warnings.warn("old", DeprecationWarning)

        def test_forgets_to_await():
            async def work(): ...
            work()
        """,
    )

    result.assert_outcomes(failed=2)


def test_seeds_are_the_same_in_every_test(rng: np.random.Generator) -> None:
    """The ``rng`` fixture starts every test from one seed."""
    assert rng.integers(0, 2**31, size=3).tolist() == np.random.default_rng(20240).integers(0, 2**31, size=3).tolist()
