"""How an annotated Service stands, told as a condition on its status and, when that changes, as an Event. Pure.

The condition is what makes Events come once: a new leader, or a restart, finds it and says nothing twice.
Source: Kubernetes API conventions, "Typical status properties", "Events".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from istio.client import Object
from istio.objects import Service
from istio.preflight import Finding
from istio.self_check import NOBODY_BEGINS, SOME_BEGIN, SOMES, named
from mesh.policy import PREFIX, Policy
from mesh.topology import ContainerName

CONDITION = PREFIX + "steered"
APPLIED, UNSUPPORTED, REVERTED, OBSERVING = "AskewApplied", "AskewUnsupported", "AskewReverted", "AskewObserving"
MISSING = "AskewSidecarsMissing"
LONGEST_MESSAGE = 1000  # an Event takes 1,024 characters, a condition 32,768


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether sidecars take a Service's endpoints from us, and why."""

    steered: bool
    reason: str
    message: str


def is_taken_back(standing: Standing | None) -> bool:
    """Whether it says that sidecars did not come for a Service, whoever was missing."""
    return standing is not None and standing.message.startswith((NOBODY_BEGINS, SOME_BEGIN))


def standing_of(
    policy: Policy, findings: Sequence[Finding], *, is_annotated: bool, is_applied: bool, taken_back: str = ""
) -> Standing | None:
    """Return how a Service stands; None where it asks for nothing, or where what it asks for is under way.

    ``policy`` is what the topology has, ``is_applied`` whether what makes sidecars obey is in the cluster,
    ``taken_back`` why it was taken out again, where sidecars did not come for it in the time they had.
    """
    told = "; ".join(map(str, findings))[:LONGEST_MESSAGE]
    if any(one.refuses for one in findings):
        return Standing(False, UNSUPPORTED, told)
    if policy.routing == "off" or not is_annotated:
        return None
    if policy.mode == "observe":
        return Standing(False, OBSERVING, f"{policy.routing}: computed and shown, nothing is changed")
    if policy.mode == "off":
        return Standing(False, REVERTED, "mode off: Istio's own balancing")
    if taken_back:
        return Standing(False, UNSUPPORTED, taken_back[:LONGEST_MESSAGE])
    if not is_applied:
        return None
    said = f"{policy.routing}: sidecars take endpoints and weights from Askew"
    return Standing(True, APPLIED, f"{said}; {told}" if told else said)


def missing_event(sidecars: Sequence[ContainerName]) -> Standing:
    """Return what an Event tells of sidecars that have not come for a Service that is steered well otherwise."""
    text = (
        f"{len(sidecars)} ready sidecars that should take its endpoints from Askew have never asked for them, and may "
        f"have none: {named(sidecars)}. {SOMES}"
    )
    return Standing(True, MISSING, text[:LONGEST_MESSAGE])


def told_of(service: Service) -> Standing | None:
    """Return what the Service's condition says now."""
    for kind, status, reason, message in service.conditions:
        if kind == CONDITION:
            return Standing(status == "True", reason, message)
    return None


def event_of(before: Standing | None, now: Standing | None) -> Standing | None:
    """Return what an Event should tell of a change; None for nothing. Observing is told by the condition alone.

    >>> event_of(Standing(True, APPLIED, "x"), None).reason
    'AskewReverted'
    """
    if now is not None:
        is_told = now == before or (is_taken_back(now) and is_taken_back(before))
        return None if is_told or now.reason == OBSERVING else now
    if before is not None and before.steered:
        return Standing(False, REVERTED, "no longer asked for: Istio's own balancing")
    return None


def condition_body(service: Service, now: Standing | None, *, time: str) -> Object:
    """Return the status to apply: our condition, or none, which takes it back. Others' conditions are not touched."""
    metadata = {"name": service.name, "namespace": service.namespace}
    if now is None:
        return {"metadata": metadata}  # what we applied before and apply no more is removed
    condition = {
        "type": CONDITION,
        "status": "True" if now.steered else "False",
        "reason": now.reason,
        "message": now.message,
        "lastTransitionTime": time,
    }
    return {"metadata": metadata, "status": {"conditions": [condition]}}
