"""Clients come and go; nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from tests.xds.askew_target import StoreControl, serving
from tests.xds.messages import CDS, EDS, cluster, endpoints
from tests.xds.peer import ADS_DELTA, ADS_SOTW, Peer, Variant

AT_ONCE = 50


def resident_bytes() -> int:
    """Return how much memory this process has, by the kernel's account."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def come_and_go(target: str, variant: Variant, name: str, *, politely: bool) -> None:
    """Connect, be served, ACK or not, and be gone."""
    async with Peer(target, variant, name) as peer:
        await peer.topic(CDS).ask()
        answer = await peer.topic(CDS).hear()
        await peer.topic(EDS).ask("A")
        if politely:
            await peer.topic(CDS).ack(answer)
            await peer.topic(EDS).take()


async def rounds(target: str, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        jobs = [
            come_and_go(target, ADS_DELTA if i % 2 else ADS_SOTW, f"c{i}", politely=i % 3 > 0)
            for i in range(first, first + AT_ONCE)
        ]
        await asyncio.gather(*jobs)


async def settled(control: StoreControl, tasks: int) -> None:
    """Wait until the server has noticed that all are gone."""
    async with asyncio.timeout(20):
        while control.store.clients or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_thousand_clients_leave_nothing() -> None:
    """Tasks and clients are back at what they were, and memory has stopped growing after the first thousand."""
    control = StoreControl()
    async with serving(control) as target:
        for i in range(2000):
            control._snapshots[f"c{i}"] = control._snapshots.get("c0") or await first_snapshot(control)
        await rounds(target, AT_ONCE)
        await settled(control, len(asyncio.all_tasks()))
        tasks = len(asyncio.all_tasks())
        await rounds(target, 1000)
        await settled(control, tasks)
        gc.collect()
        half_way = resident_bytes()
        await rounds(target, 1000)
        await settled(control, tasks)
        gc.collect()

        assert control.store.clients == {}
        assert len(asyncio.all_tasks()) <= tasks
        assert resident_bytes() - half_way < 16 * 1024 * 1024


async def first_snapshot(control: StoreControl) -> object:
    await control.put("c0", [cluster("A"), endpoints("A")], {})
    return control._snapshots["c0"]
