"""What a broken or hostile peer may send in place of a message."""

from __future__ import annotations

import random
from collections.abc import Sequence


def malformed(good: bytes, wrong: Sequence[bytes], *, count: int, seed: int) -> list[bytes]:
    """Return ``count`` messages: ``good`` torn or with a flipped bit, random bytes, and those of ``wrong``."""
    source = random.Random(seed)
    found: list[bytes] = []
    while len(found) < count:
        kind = source.randrange(4)
        if kind == 0:
            found.append(good[: source.randrange(1, len(good))])
        elif kind == 1:
            found.append(bytes(source.randrange(256) for _ in range(source.randrange(1, 80))))
        elif kind == 2:
            found.append(source.choice(wrong))
        else:
            scrambled = bytearray(good)
            scrambled[source.randrange(len(good))] ^= 1 << source.randrange(8)
            found.append(bytes(scrambled))
    return found
