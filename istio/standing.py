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
from istio.self_check import UNHEARD
from mesh.policy import PREFIX, Policy

CONDITION = PREFIX + "steered"
APPLIED, UNSUPPORTED, REVERTED, OBSERVING = "AskewApplied", "AskewUnsupported", "AskewReverted", "AskewObserving"
LONGEST_MESSAGE = 1000  # an Event takes 1,024 characters, a condition 32,768


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether sidecars take a Service's endpoints from us, and why."""

    steered: bool
    reason: str
    message: str


NOBODY_CAME = Standing(False, UNSUPPORTED, UNHEARD)


def standing_of(
    policy: Policy, findings: Sequence[Finding], *, is_annotated: bool, is_applied: bool, is_unheard: bool = False
) -> Standing | None:
    """Return how a Service stands; None where it asks for nothing, or where what it asks for is under way.

    ``policy`` is what the topology has, ``is_applied`` whether what makes sidecars obey is in the cluster,
    ``is_unheard`` whether none has come for it in the time it had.
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
    if is_unheard:
        return NOBODY_CAME
    if not is_applied:
        return None
    said = f"{policy.routing}: sidecars take endpoints and weights from Askew"
    return Standing(True, APPLIED, f"{said}; {told}" if told else said)


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
        return None if now == before or now.reason == OBSERVING else now
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
