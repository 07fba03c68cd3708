"""The examples in the docstrings run, and say what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import estimators


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(estimators.__path__)])
def test_the_examples_of_a_module_are_true(module: str) -> None:
    """Every doctest of the room passes."""
    assert doctest.testmod(importlib.import_module(f"estimators.{module}")).failed == 0
