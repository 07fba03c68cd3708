"""The containers file: by pid or by cgroup, each name once."""

from __future__ import annotations

import pytest

from enforcer.containers_file import parse_containers_file
from mesh.errors import BadInputError


def test_an_entry_has_all_that_the_agent_needs() -> None:
    """The example of the format page."""
    (container,) = parse_containers_file(
        '[{"name": "cart-0", "cgroup": "/web", "class": "best-effort", "target_ms": 50, "percentile": 99,'
        ' "latency": "http://127.0.0.1:15090/stats/prometheus"}]'
    )

    assert (container.name, container.cgroup, container.pid) == ("cart-0", "/web", None)
    assert (container.container_class, container.target_ms, container.percentile) == ("best-effort", 50.0, 99.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "found a mapping, allowed: a list"),
        ("[", "JSON that cannot be read"),
        ('[{"name": "a"}]', "[0]: found a mapping, allowed: either pid or cgroup"),
        ('[{"name": "a", "pid": 1, "cgroup": "x"}]', "[0]: found a mapping, allowed: either pid or cgroup"),
        ('[{"name": "a", "pid": 0}]', "[0].pid: found 0, allowed: an integer from 1"),
        ('[{"name": "a", "pid": 1}, {"name": "a", "pid": 2}]', "[1].name: found 'a', allowed: each container once"),
        (
            '[{"name": "a", "pid": 1, "class": "gold"}]',
            "[0].class: found 'gold', allowed: latency-critical | best-effort",
        ),
        ('[{"name": "a", "pid": 1, "latency": "ftp://x"}]', "[0].latency: found 'ftp://x'"),
    ],
)
def test_a_wrong_entry_is_named(text: str, message: str) -> None:
    """One line with the path."""
    with pytest.raises(BadInputError) as caught:
        parse_containers_file(text)

    assert message in str(caught.value)
