"""Scaling a measurement to the container's own counters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.link_measurement import LinkBytes, scaled_to_counters

_amount = st.integers(0, 10**12)
_links = st.lists(
    st.builds(LinkBytes, st.text(max_size=3), st.just(80), st.just("client"), _amount, _amount), max_size=20
)


@given(_links, _amount, _amount)
def test_scaled_links_sum_to_the_counters(links: list[LinkBytes], transmit: int, receive: int) -> None:
    """Up to rounding of each link; a direction without a measured byte stays at zero."""
    scaled = scaled_to_counters(links, transmit_bytes=transmit, receive_bytes=receive)
    for name, total in (("bytes_sent", transmit), ("bytes_received", receive)):
        measured = sum(getattr(link, name) for link in links)
        expected = total if measured else 0
        assert abs(sum(getattr(link, name) for link in scaled) - expected) <= len(links) + 1e-9 * expected


def test_links_keep_their_proportions() -> None:
    """Payload 3 to 1 is frames 3 to 1."""
    links = [LinkBytes("a", 80, "client", 3000, 0), LinkBytes("b", 80, "client", 1000, 0)]
    assert [link.bytes_sent for link in scaled_to_counters(links, transmit_bytes=4400.0, receive_bytes=0.0)] == [
        3300,
        1100,
    ]
