"""Values as bytes and back: nothing is lost, nothing else can come out."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew.control_loop import Memory
from askew.replication.errors import CodecError
from askew.replication.value_codec import decode, encode, form_of
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import ClusterCounters, EndpointLoad, LatencyHistogram, LoadReport, Telemetry
from mesh.topology import ContainerName, ServiceName, ServicePort

SHOP = ServicePort(ServiceName("shop.default"), 80)
names = st.text(max_size=8).map(ContainerName)
times = st.floats(allow_nan=False)
counts = st.integers(min_value=0, max_value=2**63)
loads = st.builds(
    EndpointLoad,
    st.text(max_size=8),
    st.sampled_from([None, SHOP]),
    st.text(max_size=8),
    counts,
    counts,
    counts,
    counts,
)
telemetries = st.builds(
    Telemetry,
    time_s=times,
    loads=st.lists(st.builds(LoadReport, names, times, times, st.lists(loads).map(tuple)), max_size=3).map(tuple),
    counters=st.lists(
        st.builds(
            ClusterCounters,
            names,
            st.text(max_size=8),
            st.sampled_from([None, SHOP]),
            st.sampled_from(["client", "server"]),
            times,
            st.none() | counts,
        ),
        max_size=3,
    ).map(tuple),
    latencies=st.lists(
        st.builds(
            LatencyHistogram,
            names,
            st.text(max_size=8),
            st.none(),
            st.just("server"),
            times,
            st.lists(times, max_size=4).map(tuple),
            st.lists(counts, max_size=4).map(tuple),
            counts,
            times,
        ),
        max_size=2,
    ).map(tuple),
)


class Pair(NamedTuple):
    """A named tuple with an optional field."""

    left: int
    right: float | None = None


@dataclass(frozen=True)
class Sample:
    """One of each kind of field."""

    kind: Literal["a", "b"]
    pairs: dict[tuple[str, int], Pair]
    either: int | str | None
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Renamed:
    """As ``Sample``, with a field of another name."""

    sort: Literal["a", "b"]
    pairs: dict[tuple[str, int], Pair]
    either: int | str | None
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@given(telemetries)
def test_telemetry_comes_back_as_it_was(telemetry: Telemetry) -> None:
    """Whatever sidecars said, in whatever numbers and names."""
    assert decode(encode(telemetry, Telemetry), Telemetry) == telemetry


@pytest.mark.parametrize("kind", [Memory, Plan, Picture])
def test_everything_a_tick_makes_has_a_form(kind: type) -> None:
    """A type that the codec does not know would be found here, not in production."""
    assert decode(encode(kind(), kind), kind) == kind()


@pytest.mark.parametrize("either", [None, 3, "three"])
def test_each_kind_of_field(either: int | str | None) -> None:
    """Arrays with their shape, mappings with keys that are no text, unions by their member, infinities."""
    sample = Sample("b", {("x", 1): Pair(1), ("y", 2): Pair(2, -math.inf)}, either, np.arange(6.0).reshape(2, 3))
    back = decode(encode(sample, Sample), Sample)
    assert (back.kind, back.pairs, back.either) == (sample.kind, sample.pairs, sample.either)
    np.testing.assert_array_equal(back.values, sample.values)
    assert not back.values.flags.writeable


def test_a_form_is_the_types_and_their_fields() -> None:
    """Another field, anywhere below, is another form; the same types are the same in every process."""
    forms = [form_of(kind) for kind in (Sample, Renamed, Memory, Plan, Picture, Telemetry)]
    assert len(set(forms)) == len(forms)
    assert form_of(Sample) == forms[0]


def packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        zlib.compress(b"no json"),
        encode(Pair(1), Pair)[:-3],
        packed([1]),
        packed([1, None, 2]),
        packed(["1", None]),
        packed([True, None]),
        packed({"left": 1}),
        packed([1, [7, 1.0]]),
    ],
)
def test_what_is_no_such_value_is_refused(data: bytes) -> None:
    """One error, whatever came: truncated, of other types, too few or too many fields."""
    with pytest.raises(CodecError, match="Pair"):
        decode(data, Pair)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that would become very many end at the limit."""
    monkeypatch.setattr("askew.replication.value_codec.LARGEST_BYTES", 1000)
    with pytest.raises(CodecError, match="do not end"):
        decode(zlib.compress(b" " * 100_000), Pair)
