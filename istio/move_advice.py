"""Tell in the cluster which pods their nodes' agents want elsewhere: an Event on the Pod. Nothing is ever evicted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from istio.errors import IstioError
from istio.events import Leadership
from istio.objects import Key, Pod
from istio.service_events import EventStore, pod_event, tell
from mesh.errors import one_line
from mesh.node_containers import MoveWish
from mesh.topology import ContainerName

log = logging.getLogger(__name__)
REASON = "AskewMoveAdvised"
AGAIN_S = 600.0
"""A wish that comes and goes is told this often at most."""
LONGEST_REASON = 500
"""In characters: the API server takes no Event whose message has more than 1024 bytes, and would be asked for ever."""


class MoveAdvisor:
    """Writes an Event for each wish that is new, as the leader."""

    def __init__(self, client: EventStore, leadership: Leadership, *, now_s: Callable[[], float] = time.time) -> None:
        self._client, self._leadership, self._now_s = client, leadership, now_s
        self._told_s: dict[ContainerName, float] = {}

    async def step(self, wishes: Iterable[MoveWish], pods: Mapping[Key, Pod]) -> bool:
        """Tell of new wishes; return whether some are still to be told. Not the leader: does nothing."""
        now_s, still_open = self._now_s(), False
        self._told_s = {name: told_s for name, told_s in self._told_s.items() if now_s - told_s < AGAIN_S}
        for wish in wishes:
            name, _, namespace = wish.container.rpartition(".")
            pod = pods.get((namespace, name))
            # An agent speaks for its own node's pods alone, whatever it says.
            if pod is None or pod.node != wish.node or wish.container in self._told_s:
                continue
            if not self._leadership.is_leader:
                return True
            event = pod_event((namespace, name), REASON, message_of(wish), now_s=now_s, uid=pod.uid)
            try:
                await self._leadership.as_leader(lambda event=event: tell(self._client, event))  # type: ignore[misc]
            except IstioError as error:
                log.warning("pod %s: its advice is not told: %s", wish.container, error)
                still_open = True
                continue
            self._told_s[wish.container] = now_s
        return still_open


def message_of(wish: MoveWish) -> str:
    """Return what a person reads of a wish.

    >>> from mesh.topology import NodeName
    >>> message_of(MoveWish(NodeName("n1"), ContainerName("a.default"), "it needs 9 of 8 cores", True, 0.0))
    'node n1 cannot hold its latency target: it needs 9 of 8 cores. It would do better elsewhere; Askew evicts nothing.'
    """
    how = "cannot hold" if wish.certain else "does not find how to hold"
    said = f"node {wish.node} {how} its latency target: {one_line(wish.reason).rstrip('.')[:LONGEST_REASON]}"
    return f"{said}. It would do better elsewhere; Askew evicts nothing."
