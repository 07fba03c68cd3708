"""The way to another replica over mTLS, for a gRPC channel.

gRPC's Python client insists on a host name in the server's certificate, and Istio's have only a SPIFFE id. So the
channel speaks plaintext to a Unix socket in a folder that is ours alone, and what comes there goes through a TLS
connection of Python's own, whose peer is checked by its URI or DNS names.
Source: reference of ``ssl``; SPIFFE, "X.509-SVID".
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from askew.replication.errors import ReplicationError
from askew.replication.wire import OPTIONS

log = logging.getLogger(__name__)
HANDSHAKE_S = 5.0
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Our certificate, its key and the authorities of the others, as PEM files. Read anew for each connection."""

    certificate: str
    key: str
    ca: str

    def context(self) -> ssl.SSLContext:
        """Return a client's context: the chain is verified; names are the caller's to look at."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["h2"])
        return context


@asynccontextmanager
async def plain_channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a plaintext channel to ``HOST:PORT``."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield channel


@asynccontextmanager
async def tls_channel(address: str, files: OwnFiles, allowed: Collection[str]) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to ``HOST:PORT`` whose certificate has one of the ``allowed`` URIs or DNS names."""
    host, _, port = address.rpartition(":")
    way = _Way(host.strip("[]"), int(port), files, frozenset(allowed))
    with tempfile.TemporaryDirectory(prefix="askew-replica-") as folder:
        socket = Path(folder) / "leader"
        server = await asyncio.start_unix_server(way.carry, socket)
        try:
            async with grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:
                yield channel
        finally:
            server.close()
            await way.end()


def names_of(certificate: object) -> frozenset[str]:
    """Return the URIs and DNS names of a certificate as ``SSLObject.getpeercert`` gives it.

    >>> sorted(names_of({"subjectAltName": (("DNS", "a.b"), ("URI", "spiffe://c"), ("IP Address", "1.2.3.4"))}))
    ['a.b', 'spiffe://c']
    """
    found = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return frozenset(name for kind, name in found if kind in ("URI", "DNS"))


class _Way:
    """Carries each connection to the socket through one of its own to the other replica."""

    def __init__(self, host: str, port: int, files: OwnFiles, allowed: frozenset[str]) -> None:
        self._host, self._port, self._files, self._allowed = host, port, files, allowed
        self._carriers: set[asyncio.Task[None]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = asyncio.current_task()
        assert carrier is not None
        self._carriers.add(carrier)
        try:
            far_reader, far_writer = await self._connect()
            try:
                await _both_ways((reader, far_writer), (far_reader, writer))
            finally:
                far_writer.close()
        except (OSError, ReplicationError, TimeoutError) as error:
            log.warning("replica %s:%d: %s", self._host, self._port, error)
        except asyncio.CancelledError:
            carrier.uncancel()  # the end of the channel; asyncio's server would take it for a fault of ours
        finally:
            self._carriers.discard(carrier)
            writer.close()

    async def end(self) -> None:
        """End every connection."""
        carriers = list(self._carriers)
        for carrier in carriers:
            carrier.cancel()
        if carriers:
            await asyncio.wait(carriers)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(HANDSHAKE_S):
            context = await asyncio.to_thread(self._files.context)
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        names = names_of(writer.get_extra_info("peercert"))
        if not names & self._allowed:
            writer.close()
            found, allowed = (", ".join(sorted(one)) or "no name" for one in (names, self._allowed))
            raise ReplicationError(f"its certificate: found {found}, allowed: {allowed}")
        return reader, writer


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    pumps = [asyncio.create_task(_pump(reader, writer)) for reader, writer in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
