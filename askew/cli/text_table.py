"""Tables as plain text: columns by two spaces, numbers to the right. What pipes read is ``-o json``."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return header and rows, one a line. Control characters of foreign names are escaped.

    >>> print(text_table(("SERVICE", "RATE"), [("shop", "7.0"), ("till", "12.5")]))
    SERVICE  RATE
    shop      7.0
    till     12.5
    """
    lines = [[_printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    numbers = [all(_is_number(line[column]) for line in lines[1:]) and len(lines) > 1 for column in range(len(header))]
    columns = [(str.rjust if is_number else str.ljust, width) for width, is_number in zip(widths, numbers, strict=True)]
    cells = [[justify(cell, width) for cell, (justify, width) in zip(line, columns, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in cells)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix(" %"))
    except ValueError:
        return text in ("", "-")
    return True


def percent(part: float) -> str:
    """Return a part of 1 in words that keep small parts visible.

    >>> [percent(part) for part in (1.0, 0.333, 0.0004, 0.0)]
    ['100.0 %', '33.3 %', '0.04 %', '0.0 %']
    """
    return f"{100 * part:.2f} %" if 0 < part < 0.001 else f"{100 * part:.1f} %"


def number(value: float) -> str:
    """Return a number with three or four figures that count, and no exponent.

    >>> [number(value) for value in (1234.5, 60.0, 0.5, 0.01234, 0.0)]
    ['1234', '60', '0.5', '0.0123', '0']
    """
    if abs(value) >= 1000:
        return f"{value:.0f}"
    text = f"{value:.3f}" if abs(value) >= 1 else f"{value:.4f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
