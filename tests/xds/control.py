"""How the suite tells the server under test what a proxy should have.

Any server can be put under the suite that offers one HTTP resource for each node:

``PUT /nodes/<node id>``, body ``{"resources": [{"@type": "type.googleapis.com/...", ...}, ...], "ttl_s": {NAME: 5.0}}``
    From the answer (204) on, these are *all* the resources of that node, of all types, as one atomic change. Resources
    are proto3 JSON of ``google.protobuf.Any``. ``ttl_s`` is there only for rules that need time to live.

``DELETE /nodes/<node id>``
    The node has no resources any more (204).

A node that was never put has no resources. A server without such a page needs a small adapter that speaks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import aiohttp
from google.protobuf import any_pb2, json_format

from tests.xds.messages import Message


class Control(ABC):
    """Sets what one node should have."""

    @abstractmethod
    async def put(self, node: str, resources: Sequence[Message], ttl_s: Mapping[str, float]) -> None:
        """Replace all resources of ``node`` at once; those named in ``ttl_s`` live that many seconds."""

    @abstractmethod
    async def delete(self, node: str) -> None:
        """Forget ``node``."""


class HttpControl(Control):
    """Control over HTTP, as the module's docstring describes it."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    async def put(self, node: str, resources: Sequence[Message], ttl_s: Mapping[str, float]) -> None:
        """See Control. Raises aiohttp.ClientError if the server does not take it."""
        body = {"resources": [_as_json(one) for one in resources], "ttl_s": dict(ttl_s)}
        async with aiohttp.ClientSession() as http, http.put(self._url(node), json=body) as response:
            response.raise_for_status()

    async def delete(self, node: str) -> None:
        """See Control. Raises aiohttp.ClientError if the server does not take it."""
        async with aiohttp.ClientSession() as http, http.delete(self._url(node)) as response:
            response.raise_for_status()

    def _url(self, node: str) -> str:
        return f"{self._base_url}/nodes/{quote(node, safe='')}"


def _as_json(message: Message) -> object:
    body = any_pb2.Any()
    body.Pack(message)
    return json_format.MessageToDict(body, preserving_proto_field_name=True)
