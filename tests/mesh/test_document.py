"""The strict reader that every file format of the project shares."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.document import Fields, integer, load_document, matching, number, one_of, read_list
from mesh.errors import BadInputError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_every_json_object_is_read_as_json_reads_it(value: dict[str, Any]) -> None:
    """What ``json.dumps`` writes comes back equal."""
    assert load_document(json.dumps(value)) == value


@given(st.text())
def test_any_text_is_a_value_or_bad_input(text: str) -> None:
    """No text makes the reader fail in another way."""
    with contextlib.suppress(BadInputError):
        load_document(text)


@pytest.mark.parametrize(
    "tagged",
    [
        "!!int ''",
        "!!float ''",
        "!!bool x",
        "!!timestamp x",
        "!!x y",
        "!!binary é",
    ],
)
def test_a_value_that_does_not_fit_its_tag_is_refused(tagged: str) -> None:
    """PyYAML lets IndexError, KeyError and AttributeError through; we don't."""
    with pytest.raises(BadInputError, match="text that cannot be read"):
        load_document(f"a: {tagged}")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', "a: 1\na: 1", "{a: 1, 'a': 2}", '{"x": {"a": 1, "a": 2}}', "x: {a: 1, a: 1}"]
)
def test_a_key_twice_is_refused_at_any_depth(text: str) -> None:
    """The last one winning in silence is how a mesh loses a service."""
    with pytest.raises(BadInputError, match="key 'a' twice, allowed: each key once"):
        load_document(text)


def test_yaml_flow_style_is_not_mistaken_for_broken_json() -> None:
    """A text that starts with a brace is JSON if its first key is quoted, YAML otherwise."""
    assert load_document("{a: 1, b: [x]}") == {"a": 1, "b": ["x"]}
    with pytest.raises(BadInputError, match="JSON that cannot be read"):
        load_document('{"a": 1,}')


def test_plain_numbers_are_what_they_look_like() -> None:
    """Decimal, negative, hexadecimal and fractional numbers are read; those that YAML versions dispute are not."""
    assert load_document("[0, -7, 0x10, 1.5, -0.25, 2.0e+3]") == [0, -7, 16, 1.5, -0.25, 2000.0]
    for disputed in ("010", "-010", "1_000", "1:30", "1:30.5", "1_0.5"):
        with pytest.raises(BadInputError, match="read differently"):
            load_document(f"a: {disputed}")


def test_fields_take_each_key_once_and_know_all() -> None:
    """A missing key has a default or is an error; a stranger is an error with the keys that are known."""
    fields = Fields({"a": 1}, "x[0]", allowed=("a", "b"))

    assert (fields.take("a", integer(0, 9)), fields.take("b", integer(0, 9), 5), "b" in fields) == (1, 5, False)
    with pytest.raises(BadInputError, match=r"^x\[0\].b: found no such key, allowed: it is required$"):
        fields.take("b", integer(0, 9))
    with pytest.raises(BadInputError, match=r"^x.c: found 'c', allowed: the keys a, b$"):
        Fields({"c": 1}, "x", allowed=("a", "b"))
    with pytest.raises(BadInputError, match=r"^x: found a list, allowed: a mapping with the keys a$"):
        Fields([], "x", allowed=("a",))


def test_list_items_are_blamed_by_their_index() -> None:
    """The path of an item is ``list[index]``."""
    with pytest.raises(BadInputError, match=r"^calls\[1\]\[0\]: found 'x'"):
        read_list([[1], ["x"]], "calls", lambda value, path: read_list(value, path, integer(0, 9)))


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, [], 10, -1, 10**400])
def test_integers_are_integers_within_bounds(value: object) -> None:
    """Booleans, floats, strings and numbers out of bounds are no integers from 0 to 9."""
    with pytest.raises(BadInputError, match="an integer from 0 to 9"):
        integer(0, 9)(value, "x")


@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, -math.inf, 0, -0.0, 10.5, 10**400, {}])
def test_numbers_are_finite_and_within_bounds(value: object) -> None:
    """Nothing but a number above 0 and up to 10 is one."""
    with pytest.raises(BadInputError, match=r"^x: found .*, allowed: above 0, at most 10$"):
        number(0.0, 10.0, above=True, allowed="above 0, at most 10")(value, "x")


def test_a_choice_is_of_the_same_type() -> None:
    """1 is not True, and 1.0 is not 1."""
    assert one_of((1, "a"))(1, "x") == 1
    for stranger in (True, 1.0, "b", None):
        with pytest.raises(BadInputError, match=r"allowed: 1 \| a"):
            one_of((1, "a"))(stranger, "x")


def test_a_pattern_matches_the_whole_string() -> None:
    """A trailing line break or a non-ASCII digit does not slip through."""
    read = matching(r"[a-z]\d", "a letter and a digit")

    assert read("a1", "x") == "a1"
    for stranger in ("a1\n", "a١", " a1", "", 1):
        with pytest.raises(BadInputError, match="a letter and a digit"):
            read(stranger, "x")
