"""What the nouns raise. The caller shows the message as it is and keeps what it had."""

from __future__ import annotations


class MeshError(ValueError):
    """Base of all errors of this room."""


class BadInputError(MeshError):
    """Input that a person wrote and must mend: what, where, what is allowed, in one line.

    Parameters
    ----------
    path:
        Place inside the input, such as ``services[3].containers[0].node``; empty for the whole document.
    found:
        The offending value; shown shortened, with control characters and non-ASCII escaped.
    allowed:
        What would have been accepted.
    """

    def __init__(self, path: str, found: object, allowed: str) -> None:
        self.path, self.found, self.allowed = path, found, allowed
        where = f"{path}: " if path else ""
        super().__init__(one_line(f"{where}found {shown(found)}, allowed: {allowed}"))


def shown(value: object, *, longest: int = 60) -> str:
    """Return ``value`` as a short ASCII text for a message.

    >>> shown("re\\nviews")
    "'re\\\\nviews'"
    >>> shown({"a": 1})
    'a mapping'
    """
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a huge integer"
    text = ascii(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def one_line(text: str) -> str:
    """Return ``text`` without line breaks and in ASCII, fit for one line on any terminal."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode("ascii")
