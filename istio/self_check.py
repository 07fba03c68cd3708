"""Whether sidecars come for the endpoints of the Services that are steered. Pure; time comes in as an argument.

An EnvoyFilter that istiod does not read, or that leads where no sidecar can go, says nothing; and a running sidecar
that gets no answer empties its cluster when ``initial_fetch_timeout`` ends. So a filter for which nobody comes, or not
every sidecar that is known to call the Service, is taken back before that, a person is told once what to look at, and
it is tried again later. Once all have come a filter stays: who is missing later is told, and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mesh.topology import ContainerName, ServiceName

LIMIT_S = 15.0
"""istiod pushes within 10 s; a sidecar that warms its cluster gives up after 30 s unless settings say otherwise."""

RECONNECT_S = 40.0
"""A sidecar that has lost us tries again after up to 30 s, at random (Envoy's GrpcStream), and goes on meanwhile."""

HEAR_S = 5.0
"""A new leader's followers find it and tell it who has come within 3 s; until then nobody is late."""

RETRY_S = 600.0
"""A filter costs a push to every proxy, so it is not tried often."""

MOST_NAMED = 3
MOST_HANDED = 20
NOBODY_BEGINS, SOME_BEGIN = "no sidecar has asked", "not every sidecar that is known to call it has asked"
_IN_VAIN = f"Askew for its endpoints in time, so they are Istio's again; tried anew every {RETRY_S / 60:.0f} minutes."
_LOG = "kubectl logs POD -c istio-proxy | grep -e DeltaEndpoints -e rejected"
NOBODYS = (
    "Look whether istiod takes EnvoyFilters, istio.root_namespace is meshConfig.rootNamespace, a Sidecar resource or "
    "pod annotation leaves clients out, and a NetworkPolicy, istio.host, istio.identity or xds.trust_domain is in "
    f"their way: {_LOG}"
)
SOMES = (
    "Look whether a NetworkPolicy is in their way to istio.host, Askew turns them away (its log names whom), their "
    "istiod takes no EnvoyFilters or longer to push (istio.initial_fetch_timeout_s), or a Sidecar resource hides the "
    f"Service from them by now: {_LOG}"
)
Absent = Callable[[ServiceName, float], tuple[ContainerName, ...]]
"""The known callers' sidecars, by name, that were ready so many seconds ago, still are, and have not come."""


def limit_s(initial_fetch_timeout_s: float) -> float:
    """Return how long a filter may be there with somebody not coming: half of what empties a warming cluster.

    The other half is for the look, the write and a push of istiod, which gathers changes for up to 10 s.
    0, Envoy's "for ever", empties none.

    >>> limit_s(30), limit_s(0)
    (15.0, 15.0)
    """
    return initial_fetch_timeout_s / 2.0 if initial_fetch_timeout_s else LIMIT_S


def named(sidecars: Collection[ContainerName]) -> str:
    """Return the first names of sidecars as ``kubectl`` has them, and how many more there are.

    >>> named(["web-0.shop", "web-1.shop", "web-2.shop", "web-3.shop", "web-4.shop"])
    'shop/web-0, shop/web-1, shop/web-2 and 2 more'
    """
    first = [name.rpartition(".") for name in sorted(sidecars)[:MOST_NAMED]]
    more = f" and {len(sidecars) - len(first)} more" if len(sidecars) > len(first) else ""
    return ", ".join(f"{namespace}/{pod}" for pod, _, namespace in first) + more


def why(absent: Collection[ContainerName], silent_replicas: Collection[str] = ()) -> str:
    """Return what is said of a filter that is taken back; ``absent`` is empty where nobody came.

    ``silent_replicas`` are ready and do not follow the leader: it cannot know who came to them.
    """
    what = f"{SOME_BEGIN} {_IN_VAIN} Missing: {named(absent)}." if absent else f"{NOBODY_BEGINS} {_IN_VAIN}"
    if not silent_replicas:
        return f"{what} {SOMES if absent else NOBODYS}"
    who = ", ".join(sorted(silent_replicas)[:MOST_NAMED])
    return (
        f"{what} Look first at the replicas that are ready and do not follow the leader, so that nobody knows who came "
        f"to them ({who}): whether a NetworkPolicy is before port 18001, replication.peers is another, and what "
        "/debug/replicaz says there"
    )


UNHEARD = why(())


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A filter that is not tried before ``retry_at_s`` (seconds since the epoch), and what was said of it."""

    retry_at_s: float
    why: str


@dataclass(frozen=True)
class CheckMemory:
    """What a leader knows that another should go on from. Times are seconds since the epoch.

    Attributes
    ----------
    began_at_s:
        Of each Service that is not settled: when its filter was seen in the cluster.
    came:
        Who has come for these.
    settled:
        The Services for which all came that had to.
    taken_back:
        Those that Istio has again.
    """

    began_at_s: Mapping[ServiceName, float] = field(default_factory=dict)
    came: Mapping[ServiceName, frozenset[ContainerName]] = field(default_factory=dict)
    settled: frozenset[ServiceName] = frozenset()
    taken_back: Mapping[ServiceName, TakenBack] = field(default_factory=dict)


CameFor = Callable[[Collection[ServiceName]], Mapping[ServiceName, frozenset[ContainerName]]]


def _unknown(services: Collection[ServiceName]) -> Mapping[ServiceName, frozenset[ContainerName]]:
    return {}


def _nobody(service: ServiceName, age_s: float) -> tuple[ContainerName, ...]:
    return ()


class SelfCheck:
    """``look`` again and again; ``waiting`` have time left, ``unheard`` have none and should not be steered.

    ``handed`` is the memory of a leader before us, ``now_s`` and ``epoch_s`` the present by our clock and everyone's.
    """

    def __init__(
        self, limit_s: float = LIMIT_S, handed: CheckMemory | None = None, *, now_s: float = 0.0, epoch_s: float = 0.0
    ) -> None:
        known = handed or CheckMemory()
        self._limit_s = limit_s
        self._leads_since_s: float | None = None
        self._clocks_differ_s = epoch_s - now_s
        self._since_s = {name: min(now_s, at_s - self._clocks_differ_s) for name, at_s in known.began_at_s.items()}
        self._handed = known.began_at_s.keys() | known.settled
        self._settled: frozenset[ServiceName] = known.settled
        self._taken_back = {
            name: TakenBack(min(one.retry_at_s - self._clocks_differ_s, now_s + RETRY_S), one.why)
            for name, one in known.taken_back.items()
        }
        self.waiting: frozenset[ServiceName] = frozenset()
        self.unheard: frozenset[ServiceName] = frozenset(self._taken_back)

    def needs(self, wanted: Iterable[ServiceName], applied: frozenset[ServiceName]) -> bool:
        """Whether it matters to the next look who asks; not where all have come, nor while a filter is taken back."""
        open_ones = set(wanted) - self.unheard
        return not self._settled.issuperset(open_ones) or not applied.issuperset(open_ones)

    def why(self, service: ServiceName) -> str:
        """Return what is said of one of ``unheard``."""
        return self._taken_back[service].why

    def settled(self, *, since_s: float) -> frozenset[ServiceName]:
        """Return the Services whose filter we know to be there since then, and that stays."""
        return frozenset(name for name in self._settled if self._since_s.get(name, math.inf) <= since_s)

    def memory(self, came_for: CameFor = _unknown) -> CheckMemory:
        """Return what another leader should go on from; ``came_for`` says who has come for some Services.

        Of many that wait only some are told: the others begin anew, as if nothing were known.
        """
        some = sorted(self.waiting)[:MOST_HANDED]
        return CheckMemory(
            began_at_s={name: self._since_s[name] + self._clocks_differ_s for name in some},
            came=came_for(some),
            settled=self._settled,
            taken_back={
                name: TakenBack(one.retry_at_s + self._clocks_differ_s, one.why)
                for name, one in sorted(self._taken_back.items())
            },
        )

    def look(
        self,
        wanted: Iterable[ServiceName],
        applied: frozenset[ServiceName],
        asked: frozenset[ServiceName],
        *,
        now_s: float,
        inherited: frozenset[ServiceName] = frozenset(),
        absent: Absent = _nobody,
        silent_replicas: Collection[str] = (),
    ) -> bool:
        """Take in how it is now; return whether for another Service nobody or somebody came. O(Services).

        Parameters
        ----------
        wanted:
            The Services that should be steered and that sidecars are known to be clients of.
        applied:
            The Services whose EnvoyFilter is in the cluster.
        asked:
            The Services of which a sidecar has a subscription now. To have had one is enough: later silence is another
            matter, of which the watchdog and the metrics tell.
        inherited:
            The Services whose filter was there before us: sidecars have it, and after an outage come back in their own
            time. To take such a one back would be a push to every proxy, and ten minutes without shares, for nothing.
            Of one that was handed over the time goes on.
        absent:
            Who is missing of those that have to come. Not asked of what was there before us: who it was that had to
            come when it began, nobody knows any more.
        silent_replicas:
            Those of ours that are ready and do not follow.
        """
        wanted, inherited = frozenset(wanted), inherited - self._handed
        steered = wanted & applied
        began_s = self._leads_since_s = now_s if self._leads_since_s is None else self._leads_since_s
        self._since_s = {name: self._since_s.get(name, now_s) for name in steered}
        self._settled &= steered
        open_ones = (asked & steered) - self._settled
        missing = {name: absent(name, now_s - self._since_s[name]) for name in open_ones - inherited}
        self._settled |= {name for name in open_ones if not missing.get(name)}
        on_trial = steered - self._settled
        late = {
            name
            for name in on_trial
            if now_s - self._since_s[name] >= self._limit_s + (RECONNECT_S if name in inherited else 0.0)
            and now_s - began_s >= min(HEAR_S, self._limit_s)
        }
        self._taken_back = {
            name: one
            for name, one in self._taken_back.items()
            if name in wanted and now_s < one.retry_at_s and not self._is_over(name, one, steered, asked)
        }
        for name in late - self._taken_back.keys():
            self._taken_back[name] = TakenBack(now_s + RETRY_S, why(missing.get(name, ()), silent_replicas))
        unheard = frozenset(self._taken_back)
        changed = unheard != self.unheard or not self.waiting.isdisjoint(self._settled)
        self.unheard, self.waiting = unheard, on_trial - unheard
        return changed

    def _is_over(
        self, name: ServiceName, one: TakenBack, steered: frozenset[ServiceName], asked: frozenset[ServiceName]
    ) -> bool:
        """Whether who was missing has come. Others may still have a subscription just after their filter has gone."""
        return name in self._settled or (name in asked and name not in steered and not one.why.startswith(SOME_BEGIN))
