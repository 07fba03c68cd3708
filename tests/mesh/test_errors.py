"""Messages for a person: one printable line, whatever was found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import BadInputError, MeshError, Told, one_line, shown


@given(
    path=st.text(max_size=300), found=st.one_of(st.text(), st.integers(), st.floats(), st.binary()), allowed=st.text()
)
def test_a_message_is_one_printable_line(path: str, found: object, allowed: str) -> None:
    """No path, value or rule can break the line or reach the terminal as a control sequence."""
    message = str(BadInputError(path, found, allowed))

    assert message.isascii()
    assert message.isprintable()


def test_the_three_parts_stay_on_the_error() -> None:
    """The caller gets path and value as they were, and can catch the room's base class."""
    error = BadInputError("nodes[0]", {"a": 1}, "a string")

    assert isinstance(error, MeshError)
    assert (error.path, error.found, error.allowed) == ("nodes[0]", {"a": 1}, "a string")
    assert str(error) == "nodes[0]: found a mapping, allowed: a string"


def test_long_values_are_cut_and_containers_named() -> None:
    """A message shows what kind of thing was found, never a page of it."""
    assert [shown(value) for value in ({}, [], None, True, 10**30)] == [
        "a mapping", "a list", "nothing", "True", "a huge integer",
    ]  # fmt: skip
    assert len(shown("x" * 1000)) == 60
    assert len(str(BadInputError("k" * 10_000, 1, "less"))) < 300


def test_words_are_told_and_values_quoted() -> None:
    """What the reader says in words stands without quotes, so that it can't be mistaken for the person's text."""
    assert (shown(Told("no such key")), shown("no such key")) == ("no such key", "'no such key'")


def test_one_line_escapes_what_a_terminal_would_obey() -> None:
    """Escape characters and non-ASCII letters are shown by their codes."""
    assert one_line("a\r\nb\x1b[2J\x7f é") == "a b\\x1b[2J\\x7f \\xe9"
