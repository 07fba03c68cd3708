"""One gRPC channel to each node's agent, shared by who asks how busy it is and by who tells it its containers.

The certificate files may be renewed, or come later than we do: a connection that stands goes on with what it began
with, and after a failure the files are looked at again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

import grpc
import grpc.aio

from askew.errors import CommandError
from askew.settings import NodeSettings
from mesh.errors import one_line

log = logging.getLogger(__name__)
ALLOWED = "a certificate, its key and authorities (PEM)"
OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_reconnect_backoff_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),  # a watch is silent for as long as nothing changes: a node that died is, too
    ("grpc.keepalive_timeout_ms", 10_000),
)
Mark = tuple[tuple[int, int, int] | None, ...]


class AgentChannels:
    """``to`` gives the channel to an address; ``keep`` closes those that nobody needs any more."""

    def __init__(self, settings: NodeSettings) -> None:
        self._files = (settings.ca_file, settings.key_file, settings.certificate_file)
        self._options = list(OPTIONS)
        if settings.agent_name:
            self._options.append(("grpc.ssl_target_name_override", settings.agent_name))
        self._open: dict[str, tuple[grpc.aio.Channel, Mark]] = {}

    def check(self) -> None:
        """Raise CommandError, one line, for certificate files that cannot be read now."""
        self._credentials()

    def to(self, address: str) -> grpc.aio.Channel:
        """Return the channel to ``HOST:PORT``. Raises CommandError for certificate files that cannot be read."""
        found = self._open.get(address)
        if found is None:
            mark, credentials = self._mark(), self._credentials()
            if credentials is None:
                channel = grpc.aio.insecure_channel(address, options=self._options)
            else:
                channel = grpc.aio.secure_channel(address, credentials, options=self._options)
            found = self._open[address] = (channel, mark)
        return found[0]

    async def failed(self, address: str) -> None:
        """Note that an agent could not be reached: if the files are others now, the next try is with them."""
        found = self._open.get(address)
        if found is not None and found[1] != self._mark():
            del self._open[address]
            await found[0].close(None)

    async def keep(self, addresses: Collection[str]) -> None:
        """Close the channels to all other addresses."""
        for address in self._open.keys() - set(addresses):
            channel, _ = self._open.pop(address)
            await channel.close(None)

    async def close(self) -> None:
        """Close all."""
        await self.keep(())

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if not any(self._files):
            return None
        try:
            authorities, key, certificate = (Path(file).read_bytes() for file in self._files)
        except OSError as error:
            found = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
            raise CommandError(
                one_line(f"nodes.certificate_file, key_file, ca_file: found {found}, allowed: {ALLOWED}")
            ) from error
        return grpc.ssl_channel_credentials(authorities, key, certificate)

    def _mark(self) -> Mark:
        return tuple(_mark(file) for file in self._files)


def why(error: grpc.aio.AioRpcError) -> str:
    """Return what an agent, or the way to it, said, one line."""
    return one_line(error.details() or error.code().name)


def _mark(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
