"""Lists that the control plane tells: kept, never older, never another node's, and a damaged file is no list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enforcer.containers_file import ListedContainer
from enforcer.errors import ListNotKeptError, StaleListError
from enforcer.known_containers import joined
from enforcer.told_containers import FILE_NAME, ToldContainers, ToldList, read_told_list, text_of
from mesh.document import load_document
from mesh.errors import BadInputError
from mesh.topology import ContainerName

WEB = ListedContainer(ContainerName("web-0.shop"), cgroup="ab" * 32, target_ms=50.0, latency="http://10.0.0.1:8080/m#h")
BATCH = ListedContainer(ContainerName("batch-0.jobs"), cgroup="cd" * 32, container_class="best-effort")
TOLD = ToldList("n1", 7, (WEB, BATCH))


def begun(directory: Path, *, node: str = "n1", keeps: bool = True) -> ToldContainers:
    """Return what an agent that starts now begins with."""
    made = ToldContainers(str(directory), node=node, keeps=keeps)
    made.load()
    return made


def test_a_list_is_read_as_it_was_written() -> None:
    """What an entry leaves out has the default of containers.json."""
    assert read_told_list(load_document(text_of(TOLD))) == TOLD


def test_a_restart_begins_with_the_last_list(tmp_path: Path) -> None:
    """In the state directory, for its owner alone, and no draft beside it."""
    state = tmp_path / "run"
    begun(state).take(TOLD)

    assert begun(state).now == TOLD
    assert [path.name for path in state.iterdir()] == [FILE_NAME]
    assert (state / FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("older", [replace(TOLD, generation=6), replace(TOLD, containers=(WEB,))])
def test_an_older_list_changes_nothing_not_even_after_a_restart(tmp_path: Path, older: ToldList) -> None:
    """Nor does another one of the same generation: two leaders would take turns."""
    begun(tmp_path).take(TOLD)
    agent = begun(tmp_path)

    with pytest.raises(StaleListError, match="generation: found"):
        agent.take(older)

    assert (agent.now, begun(tmp_path).now) == (TOLD, TOLD)


def test_the_same_again_is_taken(tmp_path: Path) -> None:
    """An answer may have been lost on the way."""
    agent = begun(tmp_path)
    agent.take(TOLD)
    agent.take(TOLD)

    assert agent.now == TOLD


def test_another_nodes_list_is_refused(tmp_path: Path) -> None:
    """An address may have become another pod's; a state directory may have been copied with its machine."""
    agent = begun(tmp_path)
    with pytest.raises(BadInputError, match="node: found 'n2', allowed: n1, which this agent is of"):
        agent.take(replace(TOLD, node="n2"))
    agent.take(TOLD)

    assert begun(tmp_path, node="n2").now == ToldList("n2", 0)


@pytest.mark.parametrize("text", ["", "{", '{"node": "n1"}', text_of(TOLD)[:-9], text_of(TOLD).replace("7", "-7")])
def test_a_damaged_file_is_no_list(tmp_path: Path, text: str) -> None:
    """The agent starts, and the control plane tells its list again."""
    (tmp_path / FILE_NAME).write_text(text)
    agent = begun(tmp_path)
    agent.take(TOLD)

    assert begun(tmp_path).now == TOLD


def test_a_list_that_cannot_be_kept_is_not_taken(tmp_path: Path) -> None:
    """Else a restart would begin with another list than the one that was in force."""
    agent = begun(tmp_path / "missing" / "run")
    (tmp_path / "missing").write_text("a file stands where the directory should be")

    with pytest.raises(ListNotKeptError, match="told-containers"):
        agent.take(TOLD)

    assert agent.now.generation == 0


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    """It follows what it is told as long as it lives."""
    agent = begun(tmp_path, keeps=False)
    agent.take(TOLD)

    assert (agent.now, list(tmp_path.iterdir())) == (TOLD, [])


def test_the_other_role_follows_the_file(tmp_path: Path) -> None:
    """A new list is news, a new generation of the same list is none."""
    taker, follower = begun(tmp_path), begun(tmp_path)
    seen = [follower.look()]
    for told in (TOLD, replace(TOLD, generation=8), replace(TOLD, generation=9, containers=())):
        taker.take(told)
        seen.append(follower.look())

    assert seen == [False, True, False, True]
    assert follower.now == taker.now


def test_of_two_entries_for_one_container_the_nodes_own_file_counts() -> None:
    """By name or by place; a path with and without its first slash is one place."""
    own = (replace(WEB, target_ms=10.0), ListedContainer(ContainerName("mine"), cgroup="/" + "cd" * 32))

    assert joined(own, (WEB, BATCH)) == own
    assert joined((), (WEB, BATCH)) == (WEB, BATCH)
