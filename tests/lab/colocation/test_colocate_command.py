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


def test_the_oracle_of_fig_8(capsys: pytest.CaptureFixture[str]) -> None:
    """23 of its 64 cells; the paper's own has 25."""
    code = frame.main(["lab", "colocate", "--table", "heatmap", "--strategies", "oracle"])

    assert code == 0
    assert capsys.readouterr().out.startswith("oracle: 23 cells, the oracle 23;")


@pytest.mark.parametrize(("step", "points"), [("5", [10.0, 75.0]), ("10", [10.0, 70.0])])
def test_loads_rise_by_the_steps_asked_for(step: str, points: list[float], tmp_path: Path) -> None:
    """On a 10 % grid all points are a whole number of tens."""
    path = tmp_path / "rows.json"
    words = ["--services", "2", "--rays", "2", "--strategies", "static", "--step", step]
    frame.main(["lab", "colocate", *words, "--json", str(path)])

    assert [row["emu_points"] for row in json.loads(path.read_text())] == points


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
