"""Who makes us ask the API server about tokens, by address: bounds, so that one peer does not use up what all share.

Only questions are counted, not streams: a token that is known, or was refused a moment ago, costs none. A sidecar whose
token is bad asks six a minute, however many streams it opens.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from istio.errors import TooManyAskedError

WINDOW_S = 60.0
MOST_REFUSED_OF_ONE = 600
"""Questions of one address that may end in a refusal, in a minute: a hundred sidecars with bad tokens behind one."""
MOST_UNDER_WAY_OF_ONE = 500
"""Questions of one address at a time: as many new sidecars may come at once from behind one."""
MOST_ADDRESSES = 20_000


@dataclass(slots=True)
class _Refused:
    since_s: float
    times: int = 0


class AskingPeers:
    """``check`` before a question, ``began`` and ``ended`` around it."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._under_way: Counter[str] = Counter()
        self._refused: OrderedDict[str, _Refused] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise TooManyAskedError for an address that has had, or has under way, more than any sidecar needs. O(1)."""
        refused = self._refused.get(address)
        if refused is not None and refused.times >= MOST_REFUSED_OF_ONE:
            left_s = refused.since_s + WINDOW_S - self._now_s()
            if left_s > 0.0:
                allowed = f"allowed: {MOST_REFUSED_OF_ONE} in {WINDOW_S:g} s, come again in {left_s:.0f} s"
                raise TooManyAskedError(f"token: found {refused.times} refused ones of this address, {allowed}")
        if self._under_way[address] >= MOST_UNDER_WAY_OF_ONE:
            allowed = f"allowed: {MOST_UNDER_WAY_OF_ONE} at a time"
            raise TooManyAskedError(f"token: found {self._under_way[address]} of this address to be judged, {allowed}")

    def began(self, address: str) -> None:
        """Note that a question of this address is under way."""
        self._under_way[address] += 1

    def ended(self, address: str) -> None:
        """Note that it is not any more."""
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address]

    def note_refusal(self, address: str) -> None:
        """Count a token that the API server refused."""
        now_s = self._now_s()
        found = self._refused.get(address)
        if found is None or now_s - found.since_s >= WINDOW_S:
            found = self._refused[address] = _Refused(now_s)
        found.times += 1
        self._refused.move_to_end(address)
        while len(self._refused) > MOST_ADDRESSES:
            self._refused.popitem(last=False)
