"""Events on Services and Pods: what was done, or why not, where a person looks with ``kubectl describe``."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Protocol

from istio.errors import ExistsAlreadyError
from istio.kinds import EVENTS, Kind
from istio.objects import Key
from mesh.topology import ServiceName

COMPONENT = "askew"
KubeObject = dict[str, Any]
LONGEST_MESSAGE = 1024  # what the API takes


class EventStore(Protocol):
    """What is needed of a client of the API."""

    async def create(self, kind: Kind, body: KubeObject, *, namespace: str = "") -> KubeObject: ...

    async def merge_patch(self, kind: Kind, name: str, patch: KubeObject, *, namespace: str = "") -> KubeObject: ...


def service_event(service: ServiceName, reason: str, message: str, *, now_s: float, uid: str = "") -> KubeObject:
    """Return an Event about a Service. What says the same of the same object has the same name, whoever tells it."""
    name, _, namespace = service.rpartition(".")
    return _event("Service", (namespace, name), reason, message, now_s=now_s, uid=uid)


def pod_event(pod: Key, reason: str, message: str, *, now_s: float, uid: str = "") -> KubeObject:
    """Return an Event about a Pod."""
    return _event("Pod", pod, reason, message, now_s=now_s, uid=uid)


def _event(kind: str, key: Key, reason: str, message: str, *, now_s: float, uid: str) -> KubeObject:
    namespace, name = key
    time = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.blake2b(f"{uid}\0{reason}\0{message}".encode(), digest_size=6).hexdigest()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.askew-{digest}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": kind,
            "name": name,
            "namespace": namespace,
            **({"uid": uid} if uid else {}),
        },
        "reason": reason,
        "message": message[:LONGEST_MESSAGE],
        "type": "Normal" if reason == "AskewApplied" else "Warning",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


async def tell(store: EventStore, event: KubeObject) -> None:
    """Create an Event, or count one more where it is there already."""
    metadata = event["metadata"]
    try:
        await store.create(EVENTS, event, namespace=metadata["namespace"])
    except ExistsAlreadyError:
        # A patch answers with the object, so that no right to read Events is needed.
        latest = {"lastTimestamp": event["lastTimestamp"]}
        found = await store.merge_patch(EVENTS, metadata["name"], latest, namespace=metadata["namespace"])
        counted = {"count": int(found.get("count") or 0) + 1}
        await store.merge_patch(EVENTS, metadata["name"], counted, namespace=metadata["namespace"])
