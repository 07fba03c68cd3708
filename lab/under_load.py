"""A mesh under its load: start the load, end it in order, and wait until the control plane knows who sends how much."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from askew.control_loop import TICK_S
from lab.load import LoadGenerator
from lab.mesh import LabMesh
from lab.progress import Teller

LEARN_S = 20.0


@asynccontextmanager
async def under_load(mesh: LabMesh, *, seed: int) -> AsyncIterator[LoadGenerator]:
    """Yield the generator that sends the application's load until the context ends."""
    load = mesh.application.load
    mix = {f"/{operation}": part for operation, part in load.mix.items()}
    rng = random.Random(f"load {seed}")
    generator = LoadGenerator(mesh.load_sources, authority=load.service, mix=mix, rng=rng)
    sending = asyncio.get_running_loop().create_task(generator.run(), name="load")
    try:
        yield generator
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


async def learn(mesh: LabMesh, progress: Teller) -> None:
    """Wait until the control plane knows who sends how much; go on without after ``LEARN_S``, and say so.

    The first rates may rest on the moment in which the load began: one tick more, and they do not.
    """
    progress.say("learning who sends how much")
    until_s = time.monotonic() + LEARN_S
    while unknown := await mesh.unlearnt():
        if time.monotonic() > until_s:
            progress.say(f"rates to {', '.join(unknown)} are still unknown: equal ones are assumed")
            return
        await asyncio.sleep(0.2)
    await asyncio.sleep(TICK_S)
