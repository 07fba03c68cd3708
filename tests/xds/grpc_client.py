"""gRPC's own xDS client (C-core) in a process of its own: its bootstrap is read from the environment at import.

Reads lines from stdin, answers each with a line: ``call`` makes one request over ``xds:///<argument>`` and prints who
answered, or ``error: <code>``. Ends with its stdin.
"""

from __future__ import annotations

import sys

import grpc


def main(target: str) -> None:
    """Answer lines until there are no more."""
    with grpc.insecure_channel(f"xds:///{target}") as channel:
        call = channel.unary_unary("/test.Echo/Who")
        for line in sys.stdin:
            if line.strip() != "call":
                continue
            try:
                print(call(b"", timeout=20, wait_for_ready=True).decode(), flush=True)
            except grpc.RpcError as error:
                print(f"error: {error.code().name} {error.details()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
