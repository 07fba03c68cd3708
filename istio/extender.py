"""What kube-scheduler asks an extender, and the form of the answer. Pure.

The structs have no JSON tags, so keys are Go's names (``NodeNames``); what is nested in them is written as in the API.
Source: Kubernetes, ``k8s.io/kube-scheduler/extender/v1`` (``ExtenderArgs``, ``HostPriorityList``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

from istio.errors import UnreadableAnswerError
from istio.kinds import PODS
from istio.objects import Pod, Service
from istio.pruning import prune
from mesh.errors import BadInputError, Told


@dataclass(frozen=True, slots=True)
class Asked:
    """A pod that needs a node, and those where it may go."""

    pod: Pod
    nodes: tuple[str, ...]


def read_asked(body: bytes) -> Asked:
    """Return what ``ExtenderArgs`` say. Keys that are not needed are passed over, as Go does. O(body).

    Raises
    ------
    BadInputError
        with the path, for JSON that is none, no pod, or neither ``NodeNames`` nor ``Nodes``.

    >>> read_asked(b'{"Pod": {"metadata": {"name": "cart-9"}}, "Nodes": null, "NodeNames": ["n1", "n2"]}').nodes
    ('n1', 'n2')
    """
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also UTF-8 that is none, and numbers of thousands of digits
        raise BadInputError("body", Told(f"{type(error).__name__}: {error}"[:200]), "ExtenderArgs as JSON") from error
    if not isinstance(found, dict):
        raise BadInputError("body", Told(f"a {type(found).__name__}"), "ExtenderArgs as JSON")
    return Asked(_pod(found.get("Pod")), _nodes(found))


def host_priorities(nodes: Sequence[str], scores: Sequence[int]) -> list[dict[str, object]]:
    """Return the answer, ``HostPriorityList``: whole scores, never past 0 and 10 (kube-scheduler does not look).

    >>> host_priorities(["n1", "n2"], [10, -3])
    [{'Host': 'n1', 'Score': 10}, {'Host': 'n2', 'Score': 0}]
    """
    return [{"Host": node, "Score": min(10, max(0, score))} for node, score in zip(nodes, scores, strict=True)]


def selects(service: Service, pod: Pod) -> bool:
    """Whether a pod will be one of a Service's endpoints once it is ready."""
    wanted = service.selector
    if not wanted or service.namespace != pod.namespace:
        return False
    return all(pod.labels.get(key) == value for key, value in wanted.items())


def _pod(value: object) -> Pod:
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        raise BadInputError("Pod", value if value is None else Told("no metadata"), "a Pod")
    try:
        pod = cast(Pod, prune(PODS, value))
    except UnreadableAnswerError as error:
        raise BadInputError("Pod.metadata.name", value["metadata"].get("name"), "a Pod's name") from error
    return replace(pod, namespace=pod.namespace or "default")


def _nodes(found: dict[str, Any]) -> tuple[str, ...]:
    names, nodes = found.get("NodeNames"), found.get("Nodes")
    if names is not None:
        return _texts(names, "NodeNames")
    if not isinstance(nodes, dict) or not isinstance(nodes.get("items"), list):
        raise BadInputError("NodeNames", None, "a list of names, or Nodes with items")
    metadata = [one.get("metadata") if isinstance(one, dict) else None for one in nodes["items"]]
    return _texts([one.get("name") if isinstance(one, dict) else None for one in metadata], "Nodes.items")


def _texts(value: object, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise BadInputError(path, Told(f"a {type(value).__name__}"), "a list of names")
    for index, one in enumerate(value):
        if not isinstance(one, str) or not one:
            raise BadInputError(f"{path}[{index}]", one, "a node's name")
    return tuple(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"found {name}, which is not JSON")
