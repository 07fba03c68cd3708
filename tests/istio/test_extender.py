"""kube-scheduler's questions are read as Go writes them, and the answers have Go's names."""

from __future__ import annotations

import json

import pytest

from istio.extender import host_priorities, read_asked, selects
from istio.kinds import PODS, SERVICES
from istio.objects import Pod, Service
from istio.pruning import prune
from mesh.errors import BadInputError
from tests.istio.cluster_objects import pod, service

NEW = {
    "metadata": {
        "name": "cart-6c9f-x2x4z", "namespace": "shop", "labels": {"app": "cart", "pod-template-hash": "6c9f"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6c9f", "controller": True}],
    },
    "spec": {"containers": [{"name": "cart"}]},
    "status": {"phase": "Pending"},
}  # fmt: skip


def body(**keys: object) -> bytes:
    """Return the JSON of ExtenderArgs with these keys over a usual question."""
    return json.dumps({"Pod": NEW, "Nodes": None, "NodeNames": ["n1", "n2"]} | keys).encode()


def test_names_of_nodes_are_read() -> None:
    """``nodeCacheCapable: true``: NodeNames is a list, Nodes is null; the pod is its Deployment's."""
    asked = read_asked(body())

    assert asked.nodes == ("n1", "n2")
    assert (asked.pod.name, asked.pod.namespace, asked.pod.workload) == ("cart-6c9f-x2x4z", "shop", "cart")


def test_whole_nodes_are_read() -> None:
    """``nodeCacheCapable: false``: Nodes is a NodeList, NodeNames is null."""
    nodes = {"metadata": {}, "items": [{"metadata": {"name": "n3"}, "spec": {}}, {"metadata": {"name": "n4"}}]}

    assert read_asked(body(Nodes=nodes, NodeNames=None)).nodes == ("n3", "n4")


def test_what_is_not_known_is_passed_over() -> None:
    """A later kube-scheduler may say more."""
    assert read_asked(body(Later={"a": [1]})).nodes == ("n1", "n2")


def test_a_pod_without_a_namespace_is_in_the_default_one() -> None:
    """As everywhere in the API."""
    assert read_asked(body(Pod={"metadata": {"name": "web-0"}})).pod.namespace == "default"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (b"", "body: found JSONDecodeError"),
        (b"{", "body: found JSONDecodeError"),
        (b"\xff\xfe{", "body: found "),
        (b"[" * 100_000, "body: found RecursionError"),
        (b'{"NodeNames": [' + b"9" * 5000 + b"]}", "body: found ValueError"),
        (b"[]", "body: found a list"),
        (body(NodeNames=[float("nan")]), "body: found ValueError: found NaN"),
        (body(Pod=None), "Pod: found nothing"),
        (body(Pod=[]), "Pod: found no metadata"),
        (body(Pod={"metadata": None}), "Pod: found no metadata"),
        (body(Pod={"metadata": {"name": 7}}), "Pod.metadata.name: found 7"),
        (body(NodeNames=None), "NodeNames: found nothing"),
        (body(NodeNames="n1"), "NodeNames: found a str"),
        (body(NodeNames=["n1", 7]), "NodeNames[1]: found 7"),
        (body(NodeNames=None, Nodes={"items": [{"metadata": {"name": "n1"}}, 7]}), "Nodes.items[1]: found nothing"),
        (body(NodeNames=None, Nodes={"items": None}), "NodeNames: found nothing"),
        (json.dumps({"pod": NEW, "nodeNames": ["n1"]}).encode(), "Pod: found nothing"),
    ],
)
def test_a_malformed_question_is_one_line_with_its_path(asked: bytes, told: str) -> None:
    """Whatever comes, the refusal says what was found and what is allowed."""
    with pytest.raises(BadInputError) as error:
        read_asked(asked)

    assert str(error.value).startswith(told)
    assert "allowed: " in str(error.value)


@pytest.mark.parametrize("metadata", [{"labels": 7}, {"ownerReferences": "x"}, {"annotations": [1]}])
def test_odd_metadata_is_read_as_absent(metadata: dict[str, object]) -> None:
    """What the API server would never have let in must not break the question."""
    assert read_asked(body(Pod={"metadata": {"name": "a"} | metadata})).pod.name == "a"


def test_scores_stay_within_the_extenders_bounds() -> None:
    """kube-scheduler does not clamp them."""
    assert host_priorities(["a", "b", "c"], [11, -1, 7]) == [
        {"Host": "a", "Score": 10}, {"Host": "b", "Score": 0}, {"Host": "c", "Score": 7},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "namespace", "selector", "expected"),
    [
        ({"app": "cart", "v": "1"}, "default", {"app": "cart"}, True),
        ({"app": "cart"}, "default", {"app": "cart", "v": "1"}, False),
        ({"app": "cart"}, "shop", {"app": "cart"}, False),
        ({"app": "cart"}, "default", {}, False),
        ({"app": "cart"}, "default", None, False),
    ],
)
def test_a_service_selects_by_all_of_its_labels(
    labels: dict[str, str], namespace: str, selector: object, expected: bool
) -> None:
    """In its own namespace; without a selector it selects nobody."""
    found, one = prune(SERVICES, service(spec={"selector": selector})), prune(PODS, pod("a", labels=labels))

    assert isinstance(found, Service)
    assert isinstance(one, Pod)
    assert selects(found, prune(PODS, pod("a", labels=labels, namespace=namespace))) == expected  # type: ignore[arg-type]
