"""What the control loop tells Prometheus. Labels are services, and of links only the busiest: the number is bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mesh.picture import Picture
from mesh.plan import Plan
from mesh.shares import link_changes

MOST_LINKS = 100
MOST_TARGETS = 1000  # endpoints of imbalance-aware services; of more, none is shown


class LoopMetrics:
    """The metrics of ticks, plans and links."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.leads = Gauge(
            "askew_leads", "1 while this replica decides for all, 0 while it follows.", registry=registry
        )
        self.plan_seconds = Histogram("askew_plan_seconds", "Time to compute a plan.", registry=registry)
        self.tick_seconds = Histogram("askew_tick_seconds", "Time of a whole tick.", registry=registry)
        self.cross_node_share = Gauge(
            "askew_cross_node_share",
            "Part of requests that leave their node, as planned.",
            ["service"],
            registry=registry,
        )
        self.connections = Gauge(
            "askew_connections", "Client and endpoint pairs that carry requests.", ["service"], registry=registry
        )
        self.target_share = Gauge(
            "askew_target_share",
            f"Part of a service's requests that an endpoint should get, where latency decides; up to {MOST_TARGETS}.",
            ["service", "endpoint"],
            registry=registry,
        )
        self.link_bytes = Gauge(
            "askew_link_bytes_per_second",
            f"Bytes from one service to another, of the {MOST_LINKS} busiest links.",
            ["from", "to"],
            registry=registry,
        )
        self.links_opened = Counter(
            "askew_links_opened", "Pairs of client and endpoint that plans added.", registry=registry
        )
        self.links_closed = Counter(
            "askew_links_closed", "Pairs of client and endpoint that plans gave up.", registry=registry
        )
        self.source_errors = Counter(
            "askew_source_errors", "Input that was refused or could not be had.", ["source"], registry=registry
        )

    def show(self, picture: Picture, plan: Plan) -> None:
        """Show the figures of one tick, and no longer those of what is gone."""
        self.cross_node_share.clear()
        self.connections.clear()
        for service_port, service_plan in plan.services.items():
            self.cross_node_share.labels(str(service_port)).set(service_plan.cross_node_share)
            self.connections.labels(str(service_port)).set(service_plan.shares.connections)
        self._show_targets(plan)
        self.link_bytes.clear()
        for link in picture.links[:MOST_LINKS]:
            self.link_bytes.labels(link.source, link.target).set(link.rate_bytes_per_s)

    def _show_targets(self, plan: Plan) -> None:
        self.target_share.clear()
        chosen = {key: one.chosen.endpoints for key, one in plan.services.items() if one.chosen is not None}
        if sum(map(len, chosen.values())) > MOST_TARGETS:
            return
        for service_port, endpoints in chosen.items():
            for name, target in endpoints.items():
                self.target_share.labels(str(service_port), name).set(target.part)

    def count_links(self, before: Plan, now: Plan) -> None:
        """Count what a plan that is about to be sent opens and closes."""
        for service_port in before.services.keys() | now.services.keys():
            old, new = before.services.get(service_port), now.services.get(service_port)
            if old is not new:
                opened, closed = link_changes(old.shares if old else None, new.shares if new else None)
                self.links_opened.inc(opened)
                self.links_closed.inc(closed)
