"""What the nouns raise. The caller shows the message as it is and keeps what it had."""

from __future__ import annotations

LONGEST_PATH = 200  # a key may be a megabyte; a message is a line


class MeshError(ValueError):
    """Base of all errors of this room."""


class Told(str):
    """What was found, told in words (``no such key``) instead of quoted as the person wrote it."""

    __slots__ = ()


NO_SUCH_KEY = Told("no such key")


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

    Examples
    --------
    >>> str(BadInputError("nodes[0].name", 7, "a string"))
    'nodes[0].name: found 7, allowed: a string'
    """

    def __init__(self, path: str, found: object, allowed: str) -> None:
        self.path, self.found, self.allowed = path, found, allowed
        where = f"{_cut(path, LONGEST_PATH)}: " if path else ""
        super().__init__(one_line(f"{where}found {shown(found)}, allowed: {allowed}"))


def shown(value: object, *, longest: int = 60) -> str:
    """Return ``value`` as a short ASCII text for a message.

    >>> shown("re\\nviews")
    "'re\\\\nviews'"
    >>> shown({"a": 1})
    'a mapping'
    >>> shown(NO_SUCH_KEY)
    'no such key'
    """
    if isinstance(value, Told):
        return _cut(one_line(value), 4 * longest)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a huge integer"
    return _cut(ascii(value), longest)


def one_line(text: str) -> str:
    r"""Return ``text`` on one line and in printable ASCII, fit for any terminal.

    >>> one_line("a\n\tb \x1b[31m")
    'a b \\x1b[31m'
    """
    line = " ".join(text.split()).encode("ascii", "backslashreplace").decode("ascii")
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in line)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
