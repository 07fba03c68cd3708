"""Bytes between services asked of nodes' agents where nobody else tells them: seldom, few at a time, cheapest first.

An agent's ``Measure`` costs its node processor time: a container is asked for only while its service wants it (see
``measured_links.py``), so many a minute, one on a node at a time. What an agent says it cannot do is not asked again
until it begins anew, or for an hour.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from askew.agent_channels import AgentChannels, why
from askew.agent_line import SERVICE, AgentLine
from askew.errors import CommandError
from askew.link_measuring import measure_cheapest
from askew.settings import NodeSettings
from enforcer.api_messages import measurement_of
from enforcer.proto import node_agent_pb2 as pb
from estimators.measured_links import KEPT_S, RENEWED_S, ToMeasure, held, to_measure
from mesh.errors import BadInputError
from mesh.link_measurement import Measurement, Method, Unmeasured
from mesh.picture import Link
from mesh.telemetry import LinkSample
from mesh.topology import Container, ContainerName, NodeName, Topology

log = logging.getLogger(__name__)
AT_ONCE = 4
LONGEST_CAPTURE_S = 1.0
"""A capture costs by the packet: 8 µs of processor time each."""
REFUSED_S = 3600.0
LIMITS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)
"""Statuses with which an agent says that asking again would not help."""
MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a container is not asked for, until when, and since when its agent's line stood that said so.

    ``name`` is what the agent was to know it by: a container that was started anew may have another.
    """

    reason: str
    name: str
    until_s: float
    line_since_s: float


@dataclass(frozen=True, slots=True)
class AgentMeasurer:
    """One way in which an agent measures, as ``measure_cheapest`` takes it. Lets gRPC's errors through."""

    channels: AgentChannels
    address: str
    name: str
    method: Method
    deadline_s: float

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        """Ask the agent; ``name`` is what it knows the container by."""
        limit_s = min(window_s, LONGEST_CAPTURE_S) if self.method == "capture" else window_s
        request = pb.MeasureRequest(container=self.name, method=self.method, limit_s=limit_s)
        channel = self.channels.to(self.address)  # between two ways the last one may have been closed
        asked = channel.unary_unary(SERVICE + "Measure", request_serializer=None, response_deserializer=None)
        answer = await asked(request.SerializeToString(), timeout=limit_s + self.deadline_s)
        response = pb.MeasureResponse.FromString(answer)
        reasons = "; ".join(one.reason for one in response.passed_over) or "no way to measure it"
        return measurement_of(response, container.name) or Unmeasured(container.name, self.method, reasons)


class LinkAsker:
    """``run`` until cancelled; ``samples`` is what was measured lately.

    Attributes
    ----------
    name_of:
        Returns the name by which an agent finds a container.
    """

    def __init__(
        self,
        settings: NodeSettings,
        channels: AgentChannels,
        *,
        known: Callable[[], tuple[Topology, tuple[Link, ...]]],
        lines: Mapping[NodeName, AgentLine],
        on_error: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._channels, self._known = settings, channels, known
        self._lines, self._on_error, self._now_s = lines, on_error, now_s
        self.name_of: Callable[[ContainerName], str] = str
        self.counts = {"measured": 0, "incomplete": 0, "refused": 0, "failed": 0}
        self.cost_cpu_s = 0.0
        self._samples: dict[ContainerName, LinkSample] = {}
        self._refusals: dict[ContainerName, _Refusal] = {}
        self._wanted = ToMeasure()
        self._busy: set[NodeName] = set()

    def samples(self) -> tuple[LinkSample, ...]:
        """Return what was measured of each container, as long as it counts."""
        return tuple(self._samples.values())

    async def run(self) -> None:
        """Ask, evenly spread over each minute."""
        async with asyncio.TaskGroup() as asking:
            while self._settings.measure_per_minute:
                await asyncio.sleep(60.0 / self._settings.measure_per_minute)
                container = self.next_one()
                if container is not None:
                    self._busy.add(container.node)
                    asking.create_task(self.ask(container), name=f"measure-{container.name}")
            await asyncio.Event().wait()

    def next_one(self) -> Container | None:
        """Return whom to ask for now, None for nobody. Forgets what is old."""
        topology, links = self._known()
        now_s = self._now_s()
        self._samples = {
            name: one
            for name, one in held(self._samples.values(), now_s=now_s).items()
            if name in topology.container_by_name
        }
        self._refusals = {name: one for name, one in self._refusals.items() if self._stands(topology, name, one)}
        self._wanted = to_measure(
            topology,
            links,
            self._samples,
            now_s=now_s,
            most=int(self._settings.measure_per_minute * KEPT_S / 60.0),
            obstacle=self._obstacle,
        )
        if len(self._busy) >= AT_ONCE:
            return None
        return next((one for one in self._wanted.due if one.node not in self._busy), None)

    async def ask(self, container: Container) -> None:
        """Have one container measured, and remember what came of it."""
        line = self._lines.get(container.node)
        try:
            if line is not None:  # it may have gone since it was this container's turn
                await self._ask(container, line)
        finally:
            self._busy.discard(container.node)

    async def _ask(self, container: Container, line: AgentLine) -> None:
        try:
            ways = self._ways(line.address, self.name_of(container.name))
            choice = await measure_cheapest(ways, container, window_s=self._settings.measure_s)
        except grpc.aio.AioRpcError as error:
            said = "refused" if error.code() in LIMITS else "failed"
            self._not_measured(container, line, said, why(error))
        except (DecodeError, BadInputError, CommandError) as error:
            self._not_measured(container, line, "failed", str(error) or "malformed")
        else:
            if choice.measurement is None:
                reasons = "; ".join(f"{one.method}: {one.reason}" for one in choice.passed_over)
                self._not_measured(container, line, "refused", reasons)
            else:
                self._measured(choice.measurement)

    def _ways(self, address: str, name: str) -> list[AgentMeasurer]:
        methods: tuple[Method, ...] = ("sockets", "capture")
        return [AgentMeasurer(self._channels, address, name, one, self._settings.deadline_s) for one in methods]

    def _measured(self, measurement: Measurement) -> None:
        self._samples[measurement.container] = LinkSample(self._now_s(), measurement)
        self.cost_cpu_s += measurement.cost_cpu_s
        self.counts["measured" if measurement.complete else "incomplete"] += 1

    def _not_measured(self, container: Container, line: AgentLine, said: str, reason: str) -> None:
        """Leave a container alone: for an hour where its agent refuses it, as long as a sample where that was away."""
        self.counts[said] += 1
        if said == "failed":
            self._on_error()
        until_s = self._now_s() + (REFUSED_S if said == "refused" else RENEWED_S)
        self._refusals[container.name] = _Refusal(reason, self.name_of(container.name), until_s, line.since_s)
        log.info("the agent of %s does not measure %s: %s", container.node, container.name, reason)

    def _stands(self, topology: Topology, name: ContainerName, refusal: _Refusal) -> bool:
        container = topology.container_by_name.get(name)
        line = None if container is None else self._lines.get(container.node)
        is_another = self.name_of(name) != refusal.name
        began_anew = is_another or (line is not None and line.since_s != refusal.line_since_s)
        return container is not None and not began_anew and self._now_s() < refusal.until_s

    def _obstacle(self, container: Container) -> str:
        """Return why a container cannot be asked for now."""
        line = self._lines.get(container.node)
        if line is None or not line.connected:
            return f"no agent answers on {container.node}"
        refusal = self._refusals.get(container.name)
        return "" if refusal is None else refusal.reason

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/nodez`` shows of this."""
        now_s = self._now_s()
        newest = sorted(self._samples.values(), key=lambda one: -one.time_s)[:MOST_SHOWN]
        return {
            "measured": [
                {
                    "container": one.measurement.container, "method": one.measurement.method,
                    "age_s": round(now_s - one.time_s, 1), "window_s": round(one.measurement.window_s, 3),
                    "bytes_sent": one.measurement.bytes_sent, "bytes_received": one.measurement.bytes_received,
                    "complete": one.measurement.complete, "notes": list(one.measurement.notes),
                    "cost_cpu_s": round(one.measurement.cost_cpu_s, 6),
                }
                for one in newest
            ],
            "measured_in_all": len(self._samples),
            "due": len(self._wanted.due),
            "left_out": dict(list(self._wanted.left_out.items())[:MOST_SHOWN]),
        }  # fmt: skip
