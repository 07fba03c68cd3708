"""``HOST:PORT`` on the command line."""

from __future__ import annotations

import argparse


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``[V6]:PORT``. Raises ArgumentTypeError for anything else.

    >>> host_and_port("[::1]:18000")
    ('::1', 18000)
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if (
        not colon
        or not host
        or "[" in host
        or "]" in host
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65535
    ):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: HOST:PORT")
    return host, int(port)


def port_number(text: str) -> int:
    """Return a TCP port, 1 to 65535. Raises ArgumentTypeError for anything else."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a port from 1 to 65535")
    return int(text)
