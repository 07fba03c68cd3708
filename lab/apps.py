"""The apps of a mesh, all in one process: ``python -m lab.apps TOPOLOGY_FILE --block N [--seed N]``.

Each container is an HTTP server of its own on ``<address>:<app port>`` with its own queue. What it calls goes through
its own sidecar's outbound listener, with the service's name as authority, as any app of a mesh does.
``GET /<operation>`` does the work; ``GET /-/speed/0.5`` halves a container's speed; ``GET /-/state`` shows its queue.
Prints ``ready`` when all listen; SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from lab.application import Application, OperationCall, Replica, Step
from lab.errors import WireError
from lab.http_wire import ClientPool, Request, Response, ServerConnection
from lab.mesh_document import mesh_document
from lab.orca import LoadMeter
from lab.service_queue import ServiceQueue
from lab.topology_file import APP_PORT, load_application
from mesh.topology import Container, ContainerName

CALL_DEADLINE_S = 15.0
# What an app of a traced mesh must hand on from the request it got to the requests it makes.
TRACE_HEADERS = ("x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled")


class App:
    """One container: its queue, its answer, and the way to its own sidecar."""

    def __init__(self, application: Application, replica: Replica, container: Container, *, rng: random.Random) -> None:
        service = application.service_by_name[replica.service]
        self.container, self._rng = container, rng
        self._operations = dict.fromkeys(service.operations, ()) if replica.leaf else service.operations
        self._body = b"x" * service.response_bytes
        self._sidecar = ClientPool(container.address, container.outbound_port)
        self.queue = ServiceQueue(service.service_time, workers=service.workers, speed=replica.capacity, rng=rng)
        self._meter = LoadMeter(self.queue, workers=service.workers)

    async def handle(self, request: Request) -> Response:
        """Answer one request: work, then call onward; 500 with the reason where a call failed.

        Not 502: Envoy takes three gateway errors in a row for a dead container, and it is not this one that failed.
        """
        name = request.path.removeprefix("/").partition("?")[0]
        if name.startswith("-/"):
            return self._control(name.removeprefix("-/"))
        if name not in self._operations:
            return Response(404, f"operations: {', '.join(self._operations)}\n".encode())
        await self.queue.work()
        headers = {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}
        for step in self._operations[name]:
            failure = await self._step(step, headers)
            if failure:
                return Response(500, failure.encode())
        return Response(200, self._body, self._meter.headers(time.monotonic()))

    def close(self) -> None:
        """Close the connections to the sidecar."""
        self._sidecar.close()

    async def _step(self, step: Step, headers: dict[str, str]) -> str:
        if len(step) == 1:
            return await self._call(step[0], headers)
        failures = await asyncio.gather(*(self._call(call, headers) for call in step))
        return "".join(failures)

    async def _call(self, call: OperationCall, headers: dict[str, str]) -> str:
        """Make the calls and return why one failed, or nothing."""
        for _ in range(call.times):
            if call.probability < 1.0 and self._rng.random() >= call.probability:
                continue
            try:
                response = await self._sidecar.get(
                    f"/{call.operation}", authority=call.service, headers=headers, deadline_s=CALL_DEADLINE_S
                )
            except (WireError, OSError, TimeoutError) as error:
                return f"{self.container.name} to {call.service}: {str(error) or type(error).__name__}\n"
            if response.status != 200:
                reason = response.body[:200].decode("latin-1")
                return f"{self.container.name} to {call.service}: status {response.status} {reason}\n"
        return ""

    def _control(self, command: str) -> Response:
        verb, _, value = command.partition("/")
        if verb == "state":
            state = asdict(self.queue.state) | {"container": self.container.name, "speed": self.queue.speed}
            return Response(200, json.dumps(state).encode())
        try:
            speed = float(value) if verb == "speed" else 0.0
        except ValueError:
            speed = 0.0
        if not 0.0 < speed <= 1000.0:
            return Response(400, b"allowed: /-/state, or /-/speed/X with 0 < X <= 1000\n")
        self.queue.speed = speed
        return Response(200)


def make_apps(application: Application, *, block: int, seed: int) -> tuple[App, ...]:
    """Return the apps of all containers, each with its own seeded random numbers."""
    containers = mesh_document(application, block=block, annotations={}).topology.container_by_name
    return tuple(
        App(application, replica, containers[ContainerName(replica.name)], rng=random.Random(f"{seed} {replica.name}"))
        for replicas in application.replicas_of.values()
        for replica in replicas
    )


async def serve(apps: Sequence[App], *, listening: asyncio.Event) -> None:
    """Let every app listen until this is cancelled; set ``listening`` when all do."""
    loop = asyncio.get_running_loop()
    servers = []
    try:
        for app in apps:
            factory = partial(ServerConnection, app.handle)
            servers.append(await loop.create_server(factory, app.container.address, APP_PORT))
        listening.set()
        await asyncio.Event().wait()
    finally:
        for server in servers:
            server.close()
        for app in apps:
            app.close()


async def _main(options: argparse.Namespace) -> None:
    apps = make_apps(load_application(options.topology), block=options.block, seed=options.seed)
    listening = asyncio.Event()
    serving = asyncio.get_running_loop().create_task(serve(apps, listening=listening))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    ready = asyncio.get_running_loop().create_task(listening.wait())
    await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
    if listening.is_set():
        print("ready", flush=True)
    try:
        await serving
    except asyncio.CancelledError:
        ready.cancel()


def main(arguments: Sequence[str]) -> None:
    """Run the apps of one topology file until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m lab.apps", description="The apps of a lab's mesh.")
    parser.add_argument("topology", type=Path)
    parser.add_argument("--block", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
