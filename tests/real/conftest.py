"""What several tests on the real kernel start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from tests.real.namespace_pair import Pair, namespace_pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two joined network namespaces, a sender and a receiver; skips where this kernel cannot make them."""
    try:
        with namespace_pair() as made:
            yield made
    except NetlinkError as error:
        pytest.skip(f"this kernel cannot make what the test needs: {error}")
