"""Ask Prometheus, or what speaks its HTTP API (Thanos, Mimir, Cortex, VictoriaMetrics), for series.

Sources: Prometheus docs, "HTTP API" (``/api/v1/query``, ``/api/v1/query_range``, the format of results); Mimir serves
the same paths below a prefix and wants a tenant in ``X-Scope-OrgID``; Thanos adds ``warnings`` to partial answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from istio.errors import QueryRejectedError, SourceUnavailableError, UnreadableAnswerError
from mesh.errors import one_line, shown

LARGE_BYTES = 1 << 16
_OVERLOADED = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Where the server is and how long it may take."""

    base_url: str
    """With any prefix, without ``/api/v1``: ``http://mimir:8080/prometheus``."""
    deadline_s: float = 10.0
    """Of one query, sent along as the server's own limit too."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every query: ``Authorization``, ``X-Scope-OrgID``."""
    most_bytes: int = 64 << 20
    """A longer answer is refused: the query is wider than meant."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series: labels, ``__name__`` among them, and samples as (Unix seconds, value), oldest first."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The series, and the server's warnings: with any, the answer may be partial.

    ``unreadable`` series were left out; histograms have no samples and count among them.
    """

    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()
    unreadable: int = 0


class Prometheus:
    """A client of the query API. The session is the caller's; it stays open."""

    def __init__(self, session: aiohttp.ClientSession, settings: PrometheusSettings) -> None:
        self._session, self._settings = session, settings

    async def instant(self, query: str, *, time_s: float | None = None) -> Answer:
        """Return the value of ``query`` at ``time_s`` (Unix seconds; the server's now where it is None).

        A range selector such as ``up[2m]`` returns the stored samples with their own times.

        Raises
        ------
        SourceUnavailableError, QueryRejectedError, UnreadableAnswerError
            as the class says what to do.
        """
        return await self._ask("query", {"query": query} | ({} if time_s is None else {"time": f"{time_s:.3f}"}))

    async def range(self, query: str, *, start_s: float, end_s: float, step_s: float) -> Answer:
        """Return ``query`` at every ``step_s`` from ``start_s`` to ``end_s`` (Unix); raises as ``instant`` does."""
        form = {"query": query, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        return await self._ask("query_range", form)

    async def _ask(self, endpoint: str, form: dict[str, str]) -> Answer:
        settings = self._settings
        url = f"{settings.base_url.rstrip('/')}/api/v1/{endpoint}"
        form["timeout"] = f"{round(settings.deadline_s * 1000)}ms"  # no fractions in its durations
        try:
            # A form, because a query may be longer than a URL may be.
            async with (
                asyncio.timeout(settings.deadline_s),
                self._session.post(url, data=form, headers=settings.headers, allow_redirects=False) as response,
            ):
                body = await _read(response, settings.most_bytes)
        except TimeoutError as error:
            raise SourceUnavailableError(f"{url}: no answer in {settings.deadline_s} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceUnavailableError(one_line(f"{url}: {error or type(error).__name__}")) from error
        if response.status != 200:
            raise _refusal(url, response.status, body)
        if len(body) > LARGE_BYTES:  # others have their turn meanwhile
            return await asyncio.to_thread(parse_answer, body)
        return parse_answer(body)


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > most_bytes:
            raise UnreadableAnswerError(f"{response.url}: found more than {most_bytes} bytes")
    return bytes(body)


def _refusal(url: str, status: int, body: bytes) -> SourceUnavailableError | QueryRejectedError:
    text = body[:300].decode("utf-8", errors="replace")
    try:
        document = json.loads(body)
        if isinstance(document, dict) and isinstance(document.get("error"), str):
            text = document["error"]
    except (ValueError, RecursionError):
        pass
    message = one_line(f"{url}: status {status}: {text}")
    retry = status >= 500 or status in _OVERLOADED
    return SourceUnavailableError(message) if retry else QueryRejectedError(message)


def parse_answer(body: bytes) -> Answer:
    """Return the series in the body of a successful answer. O(samples).

    Raises UnreadableAnswerError for a body that is no such answer; a series that cannot be read is counted.

    >>> parse_answer(b'{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]}}').series
    (Series(labels={}, samples=((1.5, 7.0),)),)
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        found = shown(body[:200].decode("utf-8", errors="replace"))
        raise UnreadableAnswerError(f"answer: found {found}, allowed: JSON") from error
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or document.get("status") != "success":
        raise UnreadableAnswerError(f"answer: found {shown(document)}, allowed: status success with data")
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        kind, result = "vector", [{"metric": {}, "value": result}]
    if kind not in ("vector", "matrix") or not isinstance(result, list):
        raise UnreadableAnswerError(
            f"data.resultType: found {shown(kind)}, allowed: vector, matrix, scalar with a list"
        )
    read = [_series(entry) for entry in result]
    series = tuple(one for one in read if one is not None)
    return Answer(series, _warnings(document), len(read) - len(series))


def _warnings(document: dict[str, object]) -> tuple[str, ...]:
    warnings = document.get("warnings")
    return tuple(one_line(str(warning)) for warning in warnings) if isinstance(warnings, list) else ()


def _series(entry: object) -> Series | None:
    if not isinstance(entry, dict):
        return None
    labels, points = entry.get("metric"), entry.get("values", [entry["value"]] if "value" in entry else None)
    if not isinstance(labels, dict) or not isinstance(points, list):
        return None
    if not all(isinstance(value, str) for value in labels.values()):
        return None
    samples = tuple(_sample(point) for point in points)
    if None in samples:
        return None
    return Series(labels, tuple(sample for sample in samples if sample is not None))


def _sample(point: object) -> tuple[float, float] | None:
    """Return time and value; the value is a string so that it can be "NaN" or "+Inf"."""
    if not isinstance(point, list) or len(point) != 2 or not isinstance(point[1], str):
        return None
    if not isinstance(point[0], (int, float)) or isinstance(point[0], bool):
        return None
    try:
        return float(point[0]), float(point[1])
    except (ValueError, OverflowError):
        return None
