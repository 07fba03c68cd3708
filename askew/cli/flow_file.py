"""The input of ``askew estimate flows``: JSON text to checked values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from askew.cli.json_document import load_json, name, time_s
from estimators.flows import HALF_LIFE_S, METHODS, FlowSample
from mesh.document import Fields, number, one_of

_bytes = number(0.0, 1e24, allowed="bytes, a number from 0 to 1e24")  # Prometheus keeps sums as floats
_half_life_s = number(0.0, 1e12, above=True, allowed="seconds, a number > 0 and <= 1e12")


@dataclass(frozen=True, slots=True)
class FlowFile:
    """What the file says, as ``estimate_flows`` wants it."""

    samples: Sequence[FlowSample]
    method: str
    half_life_s: float


def parse_flow_file(text: str) -> FlowFile:
    """Read the file.

    Raises
    ------
    BadInputError
        names the place (``samples[3].request_bytes``), what was found there and what is allowed.
    """
    top = Fields(load_json(text), "", allowed=("method", "half_life_s", "samples"))
    return FlowFile(
        method=top.take("method", one_of(METHODS), "ewma"),
        half_life_s=top.take("half_life_s", _half_life_s, HALF_LIFE_S),
        samples=top.items("samples", _sample),
    )


def _sample(value: object, path: str) -> FlowSample:
    keys = ("time_s", "reporter", "from", "to", "request_bytes", "response_bytes")
    fields = Fields(value, path, allowed=keys)
    return FlowSample(
        time_s=fields.take("time_s", time_s),
        source=fields.take("from", name),
        target=fields.take("to", name),
        request_bytes=fields.take("request_bytes", _bytes),
        response_bytes=fields.take("response_bytes", _bytes),
        reporter=fields.take("reporter", one_of(("destination", "source")), ""),
    )
