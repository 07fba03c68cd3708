"""Why a client sends what it sends where: one paragraph, from the numbers of ``/debug/allocationz``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from askew.cli.text_table import number, percent

FAR = {"local": "on the same node", "zone": "in the same zone", "remote": "in another zone", None: "place unknown"}


@dataclass(frozen=True, slots=True)
class Part:
    """What one client sends to one endpoint, and how full that is. Rates in requests per second."""

    endpoint: str
    share: float
    requests_per_s: float
    tier: str | None
    place: dict[str, str] | None
    target_requests_per_s: float
    planned_requests_per_s: float
    capacity: float | None
    target_reason: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One client's row of a service's page."""

    page: dict[str, Any]
    client: str

    @property
    def row(self) -> int:
        """The client's place in the page's lists."""
        return int(self.page["clients"].index(self.client))

    @property
    def requests_per_s(self) -> float:
        """What the client sends to the service."""
        return float(self.page["client_rates"][self.row])

    @property
    def place(self) -> dict[str, str] | None:
        """Node, zone and region of the client."""
        found: dict[str, str] | None = self.page["client_places"][self.row]
        return found

    def parts(self) -> list[Part]:
        """Return what goes to each endpoint of the service, also where that is nothing."""
        page, rates = self.page, self.page["client_rates"]
        unsteered = page.get("unsteered", {})
        return [
            Part(
                endpoint=endpoint,
                share=page["shares"][self.row][column],
                requests_per_s=page["shares"][self.row][column] * self.requests_per_s,
                tier=page["tiers"][self.row][column],
                place=page["endpoint_places"][column],
                target_requests_per_s=page["targets"][column],
                planned_requests_per_s=unsteered.get(endpoint, 0.0)
                + sum(rate * shares[column] for rate, shares in zip(rates, page["shares"], strict=True)),
                capacity=page["capacities"][column],
                target_reason=page.get("target_reasons", {}).get(endpoint, ""),
            )
            for column, endpoint in enumerate(page["endpoints"])
        ]

    def senders(self, endpoint: str) -> list[tuple[str, float]]:
        """Return who sends to an endpoint, the busiest first, with requests per second."""
        column, page = self.page["endpoints"].index(endpoint), self.page
        found = zip(page["clients"], page["client_rates"], page["shares"], strict=True)
        sent = [(client, rate * shares[column]) for client, rate, shares in found if shares[column] > 0]
        return sorted(sent, key=lambda one: (-one[1], one[0]))


def explain(allocation: Allocation, endpoint: str = "") -> str:
    """Return one paragraph: the client's rate, where it goes, what limits that, who stands by, and the plan's reason.

    With an ``endpoint``, why that one gets its share of this client, or nothing.
    """
    parts = allocation.parts()
    sentences = [_whole(allocation)]
    if not endpoint:
        sentences += [_destinations(parts), _locality(allocation, parts), _connections(allocation, parts)]
    else:
        (part,) = [one for one in parts if one.endpoint == endpoint]
        sentences += [_one(part), _fullness(part), _why(allocation, part)]
    sentences += [_standbys(allocation, parts, endpoint), _in_force(allocation.page), allocation.page["reason"]]
    return " ".join(sentence for sentence in sentences if sentence)


def _whole(allocation: Allocation) -> str:
    page, rate = allocation.page, allocation.requests_per_s
    total = sum(page["client_rates"])
    of_all = f", {percent(rate / total)} of what its clients send" if total else ""
    service = f"{page['service']}:{page['port']}"
    sends = "counts as sending" if page.get("client_rates_method") == "assumed" else "sends"
    return f"{allocation.client} ({_where(allocation.place)}) {sends} {number(rate)} requests/s to {service}{of_all}."


def _destinations(parts: Sequence[Part]) -> str:
    used = sorted((part for part in parts if part.share > 0), key=lambda part: (-part.share, part.endpoint))
    if not used:
        return "It has no endpoint to send to."
    words = [
        f"{percent(part.share)} ({number(part.requests_per_s)}/s) to {part.endpoint}, {_far(part)}" for part in used[:8]
    ]
    more = f"; and less to {len(used) - 8} more" if len(used) > 8 else ""
    return f"Of these go {'; '.join(words)}{more}."


def _locality(allocation: Allocation, parts: Sequence[Part]) -> str:
    """Say what its own node should take, against what the node's clients send and how much of that leaves it."""
    local = [part for part in parts if part.tier == "local"]
    if not local:
        return "No endpoint stands on its node."
    target = sum(part.target_requests_per_s for part in local)
    page, place = allocation.page, allocation.place
    columns = [page["endpoints"].index(part.endpoint) for part in local]
    sent = leaving = 0.0
    for rate, at, shares in zip(page["client_rates"], page["client_places"], page["shares"], strict=True):
        if at and place and at["node"] == place["node"]:
            sent += rate
            leaving += rate * max(0.0, 1.0 - sum(shares[column] for column in columns))
    names = ", ".join(part.endpoint for part in local[:8])
    away = f"{number(leaving)}/s of it leave it" if leaving > 1e-6 * sent else "all of it stays"
    return f"On its node, {names} should get {number(target)}/s; clients there send {number(sent)}/s, and {away}."


def _connections(allocation: Allocation, parts: Sequence[Part]) -> str:
    used, all_clients = sum(part.share > 0 for part in parts), allocation.page["connections"]
    return f"It needs connections to {used} of {len(parts)} endpoints; all clients together need {all_clients}."


def _one(part: Part) -> str:
    capacity = "" if part.capacity is None else f", capacity {number(part.capacity)}"
    sent = f"{percent(part.share)} of it ({number(part.requests_per_s)}/s)" if part.share > 0 else "Nothing of it"
    return f"{sent} goes to {part.endpoint} ({_far(part)}{capacity})."


def _fullness(part: Part) -> str:
    planned, target = number(part.planned_requests_per_s), number(part.target_requests_per_s)
    because = f" ({part.target_reason})" if part.target_reason else ""
    return f"{part.endpoint} should get {target}/s in all{because}, and the plan brings it {planned}/s."


def _why(allocation: Allocation, part: Part) -> str:
    if not allocation.page["managed"]:
        return "Every endpoint gets the same share of every client."
    others = [
        f"{name} ({number(rate)}/s)" for name, rate in allocation.senders(part.endpoint) if name != allocation.client
    ]
    they = ", ".join(others[:5]) + (" and others" if len(others) > 5 else "")
    rest = f"; the rest comes from {they}" if others else ""
    if part.share > 0 and part.tier == "local":
        return f"It is on the client's own node, which comes first{rest}."
    if part.share > 0:
        nearer = [one for one in allocation.parts() if one.share > 0 and _rank(one) < _rank(part)]
        return f"{'Nearer endpoints take no more' if nearer else 'No nearer endpoint takes any'} of this client{rest}."
    if others:
        return f"Its target is filled by {they}, so this client needs no connection to it."
    return "This client's requests find their targets elsewhere, so it needs no connection to it."


def _standbys(allocation: Allocation, parts: Sequence[Part], endpoint: str) -> str:
    by_tier: dict[str, list[str]] = allocation.page.get("standbys", {}).get(allocation.client, {})
    tiers = {part.tier for part in parts if part.endpoint == endpoint and part.share > 0} if endpoint else set(by_tier)
    said = []
    for tier, names in by_tier.items():
        if names and (tier in tiers or tier == "all"):
            which = "all of these" if tier == "all" else f"all its endpoints {FAR[tier]}"
            said.append(f"Should {which} fail, their requests go to {', '.join(names[:5])}.")
    return " ".join(said)


def _in_force(page: dict[str, Any]) -> str:
    if page.get("rolled_back"):
        return "This plan is not in force: proxies refused it, and what they had accepted before is served again."
    if page["managed"] and not page["applied"]:
        return "This plan is not in force (mode observe): the sidecar shares its requests equally over all endpoints."
    return ""


def _rank(part: Part) -> int:
    return {"local": 0, "zone": 1, "remote": 2}.get(part.tier or "", 3)


def _far(part: Part) -> str:
    node = "" if part.place is None or part.tier == "local" else f", {_where(part.place)}"
    return FAR[part.tier] + node


def _where(place: dict[str, str] | None) -> str:
    if place is None:
        return "gone since"
    return f"node {place['node']}" + (f", zone {place['zone']}" if place["zone"] else "")
