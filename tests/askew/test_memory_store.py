"""The memory file: what was saved is loaded, what is broken is refused in one line and left alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew.control_loop import Memory
from askew.memory_store import MemoryStore, memory_of, text_of
from askew.settings import MemorySettings
from mesh.errors import BadInputError
from tests.askew.test_imbalance_loop import SHOP, Loop


@pytest.fixture(scope="module")
def learnt() -> Loop:
    loop = Loop(np.random.default_rng(5))
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(12)
    return loop


def store(file: Path) -> MemoryStore:
    return MemoryStore(MemorySettings(file=str(file)))


def test_what_was_saved_is_loaded(tmp_path: Path, learnt: Loop) -> None:
    """Tables and targets come back; saving what was loaded writes the same file; no draft is left behind."""
    file = tmp_path / "memory.json"
    store(file).save(learnt.memory)
    loaded = store(file).load(now_s=learnt.mesh.now_s)

    assert loaded.tables == learnt.memory.tables
    assert loaded.targets[SHOP].targets == pytest.approx(learnt.memory.targets[SHOP].targets)
    assert text_of(loaded) == file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["memory.json"]


def test_a_restart_is_no_leap(learnt: Loop, rng: np.random.Generator) -> None:
    """The first plan after a restart leans as the last one did, before any telemetry, and goes on from there."""
    again = Loop(rng)
    again.memory = memory_of(text_of(learnt.memory), now_s=learnt.mesh.now_s)
    again.mesh.now_s = learnt.mesh.now_s
    again.mesh.service_ms["shop-0-0"] = 60.0
    again.run(1)

    assert again.part("shop-0-0") == pytest.approx(learnt.part("shop-0-0"), abs=0.05)
    again.run(8)
    assert again.part("shop-0-0") < 0.4


def test_targets_of_long_ago_relax(learnt: Loop, rng: np.random.Generator) -> None:
    """What was saved an hour ago counts as an hour old: without telemetry it goes back to capacity by steps."""
    again = Loop(rng)
    again.memory = memory_of(text_of(learnt.memory), now_s=learnt.mesh.now_s)
    again.mesh.now_s = learnt.mesh.now_s + 3600.0
    again.mesh.silent.update(again.topology.container_by_name)
    again.run(1)
    assert learnt.part("shop-0-0") < again.part("shop-0-0") < 0.5
    again.run(12)

    assert again.part("shop-0-0") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda page: page.pop("tables"), "tables"),
        (lambda page: page.update(form=2), "form"),
        (lambda page: page["tables"].append(page["tables"][0]), "tables"),
        (lambda page: page["tables"][0].update(port="80"), "tables[0].port"),
        (lambda page: page["tables"][0]["table"]["cells"][0].update(count=-1), "tables[0].table.cells[0].count"),
        (lambda page: page["targets"][0]["targets"]["endpoints"][1].update(part=0), "endpoints[1].part"),
        (lambda page: page["targets"][0]["targets"]["endpoints"][1].update(name=""), "endpoints[1].name"),
        (lambda page: page.update(more=1), "more"),
    ],
)
def test_what_is_not_ours_is_refused(learnt: Loop, change: Any, where: str) -> None:
    """Each wrong value is named by its place in the file."""
    page = json.loads(text_of(learnt.memory))
    change(page)
    with pytest.raises(BadInputError) as refusal:
        memory_of(json.dumps(page))

    assert where in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"nodes: []"])
def test_a_broken_file_is_told_of_and_left_alone(
    tmp_path: Path, learnt: Loop, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """One line in the log and in the metric; an empty memory; nothing is saved over somebody's file."""
    file, errors = tmp_path / "memory.json", []
    file.write_bytes(content)
    one = store(file)
    one.on_error = lambda: errors.append(1)
    with caplog.at_level(logging.ERROR):
        assert one.load(now_s=0.0) == Memory()
    one.save(learnt.memory)

    assert file.read_bytes() == content
    assert len(errors) == 1
    (record,) = caplog.records
    assert str(file) in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Saving goes wrong in one line, and the program goes on."""
    one = store(tmp_path / "nowhere" / "memory.json")
    with caplog.at_level(logging.ERROR):
        one.save(one.load(now_s=0.0))

    assert len(caplog.records) == 1


def test_without_a_file_nothing_is_done(tmp_path: Path, learnt: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default: no file, no error."""
    monkeypatch.chdir(tmp_path)
    one = MemoryStore(MemorySettings())
    one.save(learnt.memory)

    assert one.load(now_s=0.0) == Memory()
    assert list(tmp_path.iterdir()) == []
