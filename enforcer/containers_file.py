"""Which containers a host has, by process or by control group: ``--containers FILE``, and what is told in its form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from enforcer.container_paths import ContainerClass
from mesh.document import Fields, integer, load_document, matching, number, one_of, read_list
from mesh.errors import BadInputError
from mesh.topology import ContainerName

CLASSES: tuple[ContainerClass, ...] = ("latency-critical", "best-effort")

LONGEST_TARGET_MS = 1e7

_name = matching(r"[A-Za-z0-9]([-._/:@A-Za-z0-9]{0,1023})?", "letters, digits and -._/:@, at most 1024")
_group = matching(r"/?[^\x00-\x1f]{1,4095}", "a group's path below the mount, without control characters")
_url = matching(r"https?://[-._~:/?#\[\]@!$&'()*+,;=%A-Za-z0-9]{1,2000}", "an http or https URL")
_pid = integer(1, 2**22)
_target = number(0.0, LONGEST_TARGET_MS, above=True, allowed="milliseconds > 0 and <= 1e7")
_percentile = number(0.0, 100.0, above=True, allowed="a percentile > 0 and <= 100")


@dataclass(frozen=True, slots=True)
class ListedContainer:
    """An entry. Exactly one of ``pid`` and ``cgroup`` is set; ``target_ms`` 0 is: no target."""

    name: ContainerName
    pid: int | None = None
    cgroup: str | None = None
    container_class: ContainerClass = "latency-critical"
    target_ms: float = 0.0
    percentile: float = 99.0
    latency: str = ""

    @property
    def place(self) -> tuple[int | None, str | None]:
        """Where it is found: two entries with one place are one container."""
        return self.pid, self.cgroup


def parse_containers_file(text: str) -> tuple[ListedContainer, ...]:
    """Return the entries of a containers file.

    Raises
    ------
    BadInputError
        names the place, what was found and what is allowed.

    Examples
    --------
    >>> parse_containers_file('[{"name": "cart-0", "pid": 42}]')[0].pid
    42
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError("", f"JSON that cannot be read: {error}", "valid JSON") from error
    return read_containers(load_document(text), "")


def read_containers(value: object, path: str) -> tuple[ListedContainer, ...]:
    """Return the entries of a list as a document has it. Raises BadInputError, with the place below ``path``."""
    listed = read_list(value, path, _container)
    seen: set[str] = set()
    for index, container in enumerate(listed):
        if container.name in seen:
            raise BadInputError(f"{path}[{index}].name", container.name, "each container once")
        seen.add(container.name)
    return tuple(listed)


def entry_of(container: ListedContainer) -> dict[str, Any]:
    """Return the entry that :func:`read_containers` reads as this container.

    >>> entry_of(ListedContainer(ContainerName("cart-0"), pid=42))
    {'name': 'cart-0', 'pid': 42, 'class': 'latency-critical', 'percentile': 99.0}
    """
    entry = {
        "name": container.name,
        "pid": container.pid,
        "cgroup": container.cgroup,
        "class": container.container_class,
        "target_ms": container.target_ms or None,
        "percentile": container.percentile,
        "latency": container.latency or None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _container(value: object, path: str) -> ListedContainer:
    keys = ("name", "pid", "cgroup", "class", "target_ms", "percentile", "latency")
    fields = Fields(value, path, allowed=keys)
    if ("pid" in fields) == ("cgroup" in fields):
        raise BadInputError(path, value, "either pid or cgroup")
    return ListedContainer(
        name=ContainerName(fields.take("name", _name)),
        pid=fields.take("pid", _pid, None),
        cgroup=fields.take("cgroup", _group, None),
        container_class=fields.take("class", one_of(CLASSES), "latency-critical"),
        target_ms=fields.take("target_ms", _target, 0.0),
        percentile=fields.take("percentile", _percentile, 99.0),
        latency=fields.take("latency", _url, ""),
    )
