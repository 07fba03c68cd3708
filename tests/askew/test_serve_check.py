"""``askew serve --check``: whatever the file holds, exit 0 or exit 2 with one line."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import askew.__main__ as frame
from tests.mesh.bookshop import mutated_texts


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=mutated_texts())
def test_a_mutated_file_ends_with_0_or_with_2_and_one_line(text: str, tmp_path: Path) -> None:
    """300 mutated mesh files: accepted in silence, or refused in one line that starts with the file's name."""
    file = tmp_path / "mesh.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = frame.main(["serve", "--mesh", str(file), "--check", "--log-level", "error"])

    lines = err.getvalue().splitlines()
    assert code in (0, 2)
    assert len(lines) == (1 if code == 2 else 0)
    assert all(line.startswith(f"{file}: ") for line in lines)


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the root logger as it is: ``main`` would set it up once for each example."""
    monkeypatch.setattr(frame, "configure_logs", lambda **_: logging.getLogger())
