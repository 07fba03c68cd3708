"""What every test gets: fixed seeds, a fake clock, the real Envoy, golden files, and a check that no task leaks."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.clock import FakeClock

SEED = 20240
ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden"

# Derandomised: a red run is red again. `--hypothesis-profile=explore` looks for new counterexamples.
_shared = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("askew", settings(derandomize=True, **_shared))  # type: ignore[arg-type]
settings.register_profile("explore", settings(max_examples=2000, **_shared))  # type: ignore[arg-type]
settings.load_profile("askew")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make golden`` must run, and skip what needs root where there is none."""
    no_root = pytest.mark.skip(reason="needs root (run `make test-all` as root)")
    for item in items:
        if "golden" in getattr(item, "fixturenames", ()) or GOLDEN in item.path.parents:
            item.add_marker("golden")
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(no_root)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of later garbage collections: half a gigabyte that lives to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_task_leaks(request: pytest.FixtureRequest) -> None:
    """Fail an async test that ends while a task of its is still pending."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_pending_tasks_fail")


@pytest.fixture
async def _pending_tasks_fail() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(50):  # a task that was cancelled a moment ago, or a server that is closing, ends within these steps
        leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not leaked:
            return
        await asyncio.sleep(0.002)
    pytest.fail("tasks still pending at the end of the test: " + ", ".join(sorted(task.get_name() for task in leaked)))


OLDER_ENVOYS = ("1.36", "1.37", "1.38", "1.39")
"""Those of Istio 1.28 to 1.31; ``make test-all`` and ``make test-slow`` install each apart."""


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same state of the two global generators, whatever ran before it."""
    random.seed(SEED)
    np.random.seed(SEED)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator, for whatever takes one as an argument."""
    return np.random.default_rng(SEED)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when the test says so."""
    return FakeClock()


@pytest.fixture(scope="session")
def envoy() -> Path:
    """The Envoy that ``make setup`` puts beside the interpreter, or the one that ASKEW_TEST_ENVOY names."""
    binary = Path(os.environ.get("ASKEW_TEST_ENVOY") or Path(sys.executable).parent / "envoy")
    if shutil.which(binary) is None:
        pytest.skip(f"no Envoy at {binary} (run `make setup`)")
    return binary


@pytest.fixture(scope="session")
def envoy_136() -> Path:
    """The oldest Envoy that Askew must serve."""
    return _older_envoy("1.36")


@pytest.fixture(params=["newest", *(pytest.param(minor, marks=pytest.mark.slow) for minor in OLDER_ENVOYS)])
def each_envoy(request: pytest.FixtureRequest) -> Path:
    """The newest Envoy that we test, and those of the Istio minors that we support."""
    newest: Path | None = request.getfixturevalue("envoy") if request.param == "newest" else None
    return newest or _older_envoy(request.param)


def _older_envoy(minor: str) -> Path:
    binary = ROOT / f".venv-envoy-{minor}" / "bin" / "envoy"
    if shutil.which(binary) is None:
        pytest.skip(f"no Envoy {minor} at {binary} (run `make test-slow`, which installs it)")
    return binary


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file in ``tests/golden``; ``make golden`` writes the file instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("ASKEW_REWRITE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{name} is not in tests/golden: run `make golden` and read the diff"
        assert path.read_text(encoding="utf-8") == text, f"{name} differs: run `make golden` and read the diff"

    return compare
