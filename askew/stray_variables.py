"""Variables of the environment that look like settings and are none: told of at the start, never refused."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from askew.settings import ServeSettings, is_service_link, variable_of

log = logging.getLogger(__name__)

_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
"""What the kubelet makes of a Service; of ``askew-xds`` it begins as a setting does."""
_OF_THE_TESTS = ("ASKEW_TEST_", "ASKEW_REWRITE_GOLDEN")


def warn_of_strays(environment: Mapping[str, str]) -> None:
    """Log one line for each variable that begins with ``ASKEW_`` and is no setting of any process; never its value."""
    candidates = [name for name, value in environment.items() if _is_meant(name, value)]
    own = variables_of(ServeSettings())
    if own.issuperset(candidates):
        return
    from askew.node_agent import EnforceSettings  # what is loaded for it a control plane can do without

    known = own | variables_of(EnforceSettings())
    for name in sorted(set(candidates) - known):
        nearest = nearest_of(name, known)
        log.warning("%s is no setting and does nothing%s", name, nearest and f"; the nearest is {nearest}")


def variables_of(settings: Any) -> frozenset[str]:
    """Return the variables that :func:`askew.settings.compose_over` reads for a dataclass of sections."""
    sections = [(one.name, getattr(settings, one.name)) for one in fields(settings)]
    return frozenset(variable_of(name, key.name) for name, section in sections for key in fields(section))


def nearest_of(name: str, known: Iterable[str]) -> str:
    """Return the known variable that ``name`` was probably meant to be, or an empty text.

    >>> nearest_of("ASKEW_XDS_PROT", ["ASKEW_HTTP_PORT", "ASKEW_XDS_PORT"])
    'ASKEW_XDS_PORT'
    """
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)), "")


def _is_meant(name: str, value: str) -> bool:
    if not name.startswith("ASKEW_") or name.startswith(_OF_THE_TESTS):
        return False
    return not (_OF_KUBERNETES.search(name) or is_service_link(name, value))
