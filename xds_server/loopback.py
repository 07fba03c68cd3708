"""Whether an address is this machine's own: what may be told there needs no further proof."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether ``host`` can only mean this machine. Any name but ``localhost`` counts as elsewhere.

    >>> [is_loopback(host) for host in ("127.8.0.1", "::1", "::ffff:127.0.0.1", "localhost", "0.0.0.0", "web.example")]
    [True, True, True, True, False, False]
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
