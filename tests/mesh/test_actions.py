"""The action file: what it may say, and the one line that a wrong one gets."""

from __future__ import annotations

import json
import random

import pytest

from mesh.actions import RESOURCES, UNITS_OF, Action, parse_action_set
from mesh.errors import BadInputError

GOOD = {"container": "cart-0", "resource": "cpu", "value": 2.0, "unit": "cores"}


def text(*actions: object, **top: object) -> str:
    return json.dumps({"generation": 7, "ttl_s": 60, "actions": list(actions)} | top)


def test_a_whole_file_becomes_frozen_values() -> None:
    """The example of the format page, as values."""
    action_set = parse_action_set(text(GOOD))

    assert (action_set.generation, action_set.ttl_s) == (7, 60.0)
    assert action_set.actions == (Action("cart-0", "cpu", 2.0, "cores"),)  # type: ignore[arg-type]


def test_every_resource_has_a_unit() -> None:
    """No resource is without one, and network is in bits, disk in bytes."""
    assert set(UNITS_OF) == set(RESOURCES)
    assert UNITS_OF["network_egress"] == ("bits_per_s",)
    assert UNITS_OF["disk_read"] == ("bytes_per_s",)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (GOOD | {"unit": "bytes"}, "actions[0].unit: found 'bytes', allowed: cores"),
        (GOOD | {"resource": "gpu"}, "actions[0].resource: found 'gpu', allowed: cpu | cpuset"),
        (GOOD | {"value": 0}, "actions[0].value: found 0, allowed: cores > 0"),
        (GOOD | {"value": True}, "actions[0].value: found True, allowed: cores > 0"),
        (GOOD | {"value": "2"}, "actions[0].value: found '2', allowed: cores > 0"),
        (GOOD | {"container": "../x"}, "actions[0].container: found '../x', allowed: letters"),
        (GOOD | {"container": ""}, "actions[0].container: found '', allowed: letters"),
        (GOOD | {"colour": 1}, "actions[0].colour: found 'colour', allowed: the keys"),
        ({"container": "c"}, "actions[0].resource: found no such key, allowed: it is required"),
        (GOOD | {"resource": "cache", "unit": "ways", "value": 1.5}, "actions[0].value: found 1.5, allowed: a whole"),
        (GOOD | {"resource": "cpuset", "unit": "cpus", "value": "3-1"}, "allowed: ranges that rise"),
        (GOOD | {"resource": "cpuset", "unit": "cpus", "value": "a"}, "a number of CPUs, or a list such as 0-3,8"),
    ],
)
def test_a_wrong_action_is_named(action: object, message: str) -> None:
    """One line: the path inside the file, what was found, what is allowed."""
    with pytest.raises(BadInputError) as caught:
        parse_action_set(text(action))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"generation": -1}, "generation: found -1"),
        ({"generation": 1.5}, "generation: found 1.5"),
        ({"ttl_s": 0}, "ttl_s: found 0, allowed: seconds > 0"),
        ({"ttl_s": 1e9}, "ttl_s: found 1000000000.0"),
        ({"actions": {}}, "actions: found a mapping, allowed: a list"),
        ({"more": 1}, "more: found 'more', allowed: the keys"),
    ],
)
def test_a_wrong_head_is_named(top: dict[str, object], message: str) -> None:
    """The same for what stands beside the actions."""
    with pytest.raises(BadInputError) as caught:
        parse_action_set(text(**top))

    assert message in str(caught.value)


def test_a_container_has_one_action_a_resource() -> None:
    """The second one is the error: which of two values is meant nobody knows."""
    with pytest.raises(BadInputError, match=r"actions\[1\]"):
        parse_action_set(text(GOOD, GOOD | {"value": 3}))


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", "null", "generation: 7", '{"generation": NaN}', '{"a": 1, "a": 2}', "\0"]
)
def test_what_is_no_json_mapping_is_refused(broken: str) -> None:
    """YAML is no JSON; a repeated key and NaN are none either."""
    with pytest.raises(BadInputError):
        parse_action_set(broken)


def mutate(source: random.Random, value: object) -> object:
    """Return a value in which one place is wrong: another type, another size, a missing or an unknown key."""
    junk = (None, True, "", "x" * 300, -1, 0, 1e308, 2**80, [], {}, [[]], "../..", "\x00", "é", 0.1, {"a": 1})
    if isinstance(value, dict) and value and source.random() < 0.8:
        key = source.choice(sorted(value))
        changed = dict(value)
        how = source.random()
        if how < 0.15:
            del changed[key]
        elif how < 0.3:
            changed[source.choice(("x", "", "Value", "unit "))] = 1
        else:
            changed[key] = mutate(source, value[key])
        return changed
    if isinstance(value, list) and value and source.random() < 0.9:
        index = source.randrange(len(value))
        return [mutate(source, each) if i == index else each for i, each in enumerate(value)]
    return source.choice(junk)


def malformed_texts(count: int, *, seed: int) -> list[str]:
    """Return texts with one mistake each: in the values, or in the JSON itself."""
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        resource = source.choice(RESOURCES)
        action = {"container": "web", "resource": resource, "value": 2, "unit": UNITS_OF[resource][0]}
        whole = {"generation": source.randint(0, 9), "ttl_s": 60, "actions": [action, GOOD | {"container": "batch"}]}
        if source.random() < 0.2:
            raw = json.dumps(whole)
            place = source.randrange(len(raw))
            texts.append(raw[:place] + source.choice(("", "\x00", "{", "]", '"', "9" * 5000, "é")) + raw[place + 1 :])
        else:
            texts.append(json.dumps(mutate(source, whole)))
    return texts


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_files_are_refused_with_one_line_or_are_whole(count: int) -> None:
    """Whatever the mistake: an action set, or a BadInputError on one line of ASCII; never another exception."""
    messages = []
    for each in malformed_texts(count, seed=count):
        try:
            parse_action_set(each)
        except BadInputError as error:
            messages.append(str(error))

    assert [message for message in messages if not message.isascii() or "\n" in message] == []
    assert len(messages) > count * 0.8
