"""A host's tree as plain files in a directory, for the real process: recorded values, no kernel behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_tree(directory: Path, tree: Mapping[str, Any]) -> None:
    """Write a nested literal of names to texts or trees; every file ends its line, as the kernel's do."""
    for name, value in tree.items():
        path = directory / name
        if isinstance(value, Mapping):
            path.mkdir(exist_ok=True)
            write_tree(path, value)
        else:
            path.write_text(f"{value}\n")


def read_tree(directory: Path) -> dict[str, str]:
    """Return path below the directory to text, without the writer's own state."""
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "run/askew" not in str(path)
    }
