"""``askew lab colocate``: rows as JSON, and bad input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import askew.__main__ as frame


def test_rows_are_written_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row for each ray and strategy, with the oracle's points beside it."""
    path = tmp_path / "rows.json"
    code = frame.main(
        ["lab", "colocate", "--services", "2", "--rays", "2", "--strategies", "static", "--json", str(path)]
    )
    rows = json.loads(path.read_text())

    assert code == 0
    assert [row["strategy"] for row in rows] == ["static", "static"]
    assert all(row["emu_points"] <= row["oracle_points"] + 5.0 for row in rows)
    assert "simulated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strategies", "best"], "--strategies: found 'best', allowed: unmanaged"),
        (["--services", "7"], "--services: found '7', allowed: numbers from 2 to 6"),
        (
            ["--table", "cycles", "--starts", "1", "--strategies", "static", "--picture", "x.png"],
            "--picture: found table",
        ),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The option, what was found, what is allowed; no traceback."""
    code = frame.main(["lab", "colocate", *words])
    error = capsys.readouterr().err

    assert code != 0
    assert said in error
    assert error.count("\n") == 1
