"""Logs: one line an event, readable by people or by machines."""

from __future__ import annotations

import json
import logging
import sys

from askew.logs import JsonLines


def record(message: str, *, error: BaseException | None = None) -> logging.LogRecord:
    """Return a log record as ``logging`` makes one."""
    info = (type(error), error, None) if error else None
    return logging.LogRecord("askew.serve", logging.WARNING, __file__, 1, message, None, info)


def test_json_lines_are_one_object_a_line() -> None:
    """A message with line breaks, quotes or odd letters is still one line of JSON."""
    line = JsonLines().format(record('two\nlines "quoted" é'))

    assert "\n" not in line
    assert json.loads(line)["message"] == 'two\nlines "quoted" é'
    assert json.loads(line)["level"] == "warning"
    assert json.loads(line)["time"].endswith("Z")


def test_an_error_is_a_field() -> None:
    """A traceback goes into the object, not after it."""
    line = JsonLines().format(record("failed", error=ValueError("why")))

    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["error"]
    assert sys.exc_info() == (None, None, None)
