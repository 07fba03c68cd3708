"""Run ``askew lab …`` as a process of its own, and see what processes of it are left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(temporary: Path | None = None) -> Mapping[str, str]:
    """Return an environment in which our own tree is imported; ``temporary`` marks all that descends from the run."""
    extra = {"PYTHONPATH": str(ROOT)} | ({} if temporary is None else {"TMPDIR": str(temporary)})
    return os.environ | extra


def askew_lab(*arguments: str, temporary: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and return its output."""
    command = [sys.executable, "-m", "askew", "lab", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=environment(temporary), cwd=ROOT, check=False
    )


def left_of(temporary: Path) -> list[str]:
    """Return the command lines of all processes that were started with this TMPDIR and have not ended."""
    mark = f"TMPDIR={temporary}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found
