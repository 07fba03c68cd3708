"""Another size of a sample application: so many nodes, so many replicas of every service, placed by a rule.

Pure: the text of a topology file in, the text of another out.

``spread`` is what topology spread constraints with a skew of 1 make: a service's replicas per node differ by one at
most, and which nodes get the one more is left to chance. ``random`` leaves every replica's node to chance, as a
scheduler without such constraints does. Chance is drawn from the seed, for each group of replicas by itself.
"""

from __future__ import annotations

import random
from typing import Any, Literal, get_args

import yaml

from lab.topology_file import parse_application

Placement = Literal["spread", "random"]
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
FIRST_NODE_WEIGHT, NODE_WEIGHT = 3, 2  # load is seldom even: one node gets half as much again as each other


def placed_topology(text: str, *, nodes: int, replicas: int, placement: Placement, seed: int) -> str:
    """Return the topology file ``text`` with ``replicas`` of each group of replicas on ``nodes`` nodes.

    The load starts on every node, on the first at 3/2 of the others' rate; nothing else changes. Raises BadInputError
    where ``text`` is not a topology file. Cost: O(services × replicas).
    """
    parse_application(text, name="placed")
    document: dict[str, Any] = yaml.safe_load(text)
    names = [f"n{number}" for number in range(1, nodes + 1)]
    document["nodes"] = names
    document["load"]["nodes"] = dict.fromkeys(names, NODE_WEIGHT) | {names[0]: FIRST_NODE_WEIGHT}
    for service in document["services"]:
        for number, group in enumerate(service["replicas"]):
            group["nodes"] = _per_node(names, replicas, placement, random.Random(f"{seed} {service['name']} {number}"))
    return yaml.safe_dump(document, sort_keys=False, width=120)


def _per_node(names: list[str], replicas: int, placement: Placement, rng: random.Random) -> dict[str, int]:
    order = rng.sample(names, len(names))
    counts = dict.fromkeys(names, 0)
    for index in range(replicas):
        counts[order[index % len(order)] if placement == "spread" else rng.choice(names)] += 1
    return counts
