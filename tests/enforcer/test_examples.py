"""The examples in this room's docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import enforcer

MODULES = sorted(f"enforcer.{module.name}" for module in pkgutil.iter_modules(enforcer.__path__))


@pytest.mark.parametrize("name", [*MODULES, "mesh.actions"])
def test_examples_in_docstrings_run(name: str) -> None:
    """Each ``>>>`` prints what stands below it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
