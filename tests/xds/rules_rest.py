"""Rules of REST-JSON polling: a poll is a request, the version that it carries is the ACK of the answer before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import aiohttp
from google.protobuf import any_pb2, json_format

from tests.xds.messages import Message, cluster, endpoints, name_of, parse
from tests.xds.peer import ANSWER_S, Variant
from tests.xds.rule import Trial, expect, rule

REST = (Variant("rest", aggregated=False),)
POLLING = "REST-JSON polling subscriptions"


async def _post(trial: Trial, kind: str, body: str) -> tuple[int, Any]:
    url = f"{trial.rest_url}/v3/discovery:{kind}"
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


async def _poll(trial: Trial, kind: str, *, names: Iterable[str] = (), version: str = "") -> tuple[int, Any]:
    request = {"node": {"id": trial.node, "cluster": "conformance"}, "resource_names": list(names)}
    return await _post(trial, kind, json.dumps(request | {"version_info": version}))


def _resources(answer: Any) -> dict[str, Message]:
    bodies = [parse(json_format.ParseDict(one, any_pb2.Any())) for one in answer.get("resources", [])]
    return {name_of(one): one for one in bodies}


async def _changed(trial: Trial, kind: str, version: str, *, names: Iterable[str] = ()) -> Any:
    """Poll until the answer is another than "not modified"."""
    async with asyncio.timeout(ANSWER_S):
        while True:
            status, answer = await _poll(trial, kind, names=names, version=version)
            if status != 304:
                expect(status, 200, "status")
                return answer


@rule(POLLING, REST, needs="rest")
async def a_poll_is_answered(trial: Trial) -> None:
    """The first poll gets all clusters with a version; a poll with that version gets 304 and no body."""
    await trial.set(cluster("A"), cluster("B"), endpoints("A"), endpoints("B"))
    status, answer = await _poll(trial, "clusters")
    expect((status, sorted(_resources(answer))), (200, ["A", "B"]), "status and clusters")
    expect(bool(answer.get("version_info")), True, "version_info")
    expect(await _poll(trial, "clusters", version=answer["version_info"]), (304, None), "nothing has changed")


@rule(POLLING, REST, needs="rest")
async def a_poll_sees_a_change(trial: Trial) -> None:
    """A change is in the next answer, complete and with another version; a deletion is its absence."""
    await trial.set(cluster("A"), cluster("B"), endpoints("A"), endpoints("B"))
    _, first = await _poll(trial, "clusters")
    await trial.set(cluster("A", 2))
    second = await _changed(trial, "clusters", first["version_info"])
    expect(_resources(second), {"A": cluster("A", 2), "B": cluster("B")}, "clusters")
    await trial.delete("type.googleapis.com/envoy.config.cluster.v3.Cluster", "B")
    third = await _changed(trial, "clusters", second["version_info"])
    expect(sorted(_resources(third)), ["A"], "clusters")
    versions = {one["version_info"] for one in (first, second, third)}
    expect(len(versions), 3, "different versions")


@rule(POLLING, REST, needs="rest")
async def a_poll_names_endpoints(trial: Trial) -> None:
    """Endpoints are asked for by name."""
    await trial.set(cluster("A"), cluster("B"), endpoints("A"), endpoints("B"))
    status, answer = await _poll(trial, "endpoints", names=["A"])
    expect((status, sorted(_resources(answer))), (200, ["A"]), "status and endpoints")
    await trial.set(endpoints("A", 2))
    changed = await _changed(trial, "endpoints", answer["version_info"], names=["A"])
    expect(_resources(changed), {"A": endpoints("A", 2)}, "endpoints")


@rule(POLLING, REST, needs="rest")
async def a_poll_that_is_broken_is_refused(trial: Trial) -> None:
    """No JSON, no request, another type: a client error, and the next poll is served."""
    await trial.set(cluster("A"), endpoints("A"))
    wrong = json.dumps({"node": {"id": trial.node}, "type_url": "type.googleapis.com/x"})
    for body in ("{", "[]", '{"resource_names": 7}', wrong):
        status, _ = await _post(trial, "clusters", body)
        expect(400 <= status < 500, True, f"status {status} of {body!r} is a client error")
    expect((await _poll(trial, "clusters"))[0], 200, "status of the next poll")
