"""Settings of replicas: what no election could work with is refused in one line."""

from __future__ import annotations

import pytest

from askew.replication.settings import ReplicationSettings, check
from mesh.errors import BadInputError


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (ReplicationSettings(retry_s=0.0), "retry_s"),
        (ReplicationSettings(renew_deadline_s=15.0), "renew_deadline_s"),
        (ReplicationSettings(lease_s=5), "lease_s"),
        (ReplicationSettings(address="askew-0"), "replication.address: found 'askew-0', allowed: an IP address"),
        (ReplicationSettings(name="a/b"), "replication.name"),
    ],
)
def test_what_cannot_work_is_refused(settings: ReplicationSettings, where: str) -> None:
    """A leader must be over before another may begin; the Lease names it and says where it is."""
    with pytest.raises(BadInputError, match=where):
        check(settings)


def test_what_is_given_works() -> None:
    """The defaults, and a pod's own address of either family."""
    for address in ("", "10.0.0.7", "fd00::7"):
        check(ReplicationSettings(address=address))
