"""Which services must go back to what proxies accepted before. Pure: a tally of who was sent what, and who refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

LEAST_PROXIES = 3
LEAST_PART = 0.20


@dataclass(slots=True)
class _Round:
    """One change of one group: the proxies that were sent it, and those of them that refused."""

    sent: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    condemned: bool = False


class NackTally:
    """Counts, for each group of resources (a service port), how its latest change is received.

    A single proxy that refuses is that proxy's affair: the resource is parked for it. If at least 3 proxies and 20 % of
    those that were sent a change refuse it, the change is condemned.
    """

    def __init__(self, *, least_proxies: int = LEAST_PROXIES, least_part: float = LEAST_PART) -> None:
        self._least_proxies, self._least_part = least_proxies, least_part
        self._rounds: dict[str, _Round] = {}

    def changed(self, groups: Iterable[str]) -> None:
        """Start a new round for groups that are about to be sent anew."""
        for group in groups:
            self._rounds[group] = _Round()

    def sent(self, proxy: str, groups: Iterable[str]) -> None:
        """Note that a proxy was sent resources of these groups."""
        for group in groups:
            round_ = self._rounds.get(group)
            if round_ is not None:
                round_.sent.add(proxy)

    def refused(self, proxy: str, groups: Iterable[str]) -> list[str]:
        """Note a NACK; return the groups that are condemned by it, each once in a round."""
        condemned = []
        for group in groups:
            round_ = self._rounds.get(group)
            if round_ is None or round_.condemned:
                continue
            round_.sent.add(proxy)
            round_.refused.add(proxy)
            enough = max(self._least_proxies, self._least_part * len(round_.sent))
            if len(round_.refused) >= enough:
                round_.condemned = True
                condemned.append(group)
        return condemned

    @property
    def active(self) -> bool:
        """Whether there is anything to count."""
        return bool(self._rounds)

    def is_clean(self, group: str) -> bool:
        """Whether somebody was sent the group's latest change and nobody refused it; also where nothing has changed."""
        round_ = self._rounds.get(group)
        return round_ is None or (bool(round_.sent) and not round_.refused)

    def figures(self, group: str) -> tuple[int, int]:
        """Return how many proxies were sent the group's latest change, and how many refused it."""
        round_ = self._rounds.get(group, _Round())
        return len(round_.sent), len(round_.refused)
