"""Shares: a checked matrix that nobody can change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mesh.errors import MeshError
from mesh.shares import Shares, link_changes
from mesh.topology import ContainerName


def shares(fractions: list[list[float]]) -> Shares:
    """Return shares of clients c0, c1, … and endpoints e0, e1, …."""
    matrix = np.array(fractions, dtype=np.float64)
    clients = tuple(ContainerName(f"c{i}") for i in range(matrix.shape[0]))
    endpoints = tuple(ContainerName(f"e{j}") for j in range(matrix.shape[1]))
    return Shares(clients, endpoints, matrix)


def test_a_row_holds_what_its_client_uses() -> None:
    """Zeros are no connections: a row lists the endpoints with a share, and ``connections`` counts them."""
    some = shares([[0.25, 0.0, 0.75], [0.0, 1.0, 0.0]])

    assert some.row(ContainerName("c0")) == {"e0": 0.25, "e2": 0.75}
    assert some.connections == 3
    with pytest.raises(KeyError):
        some.row(ContainerName("c2"))


@pytest.mark.parametrize(
    ("fractions", "reason"),
    [
        ([[0.5, 0.4]], "sums to neither 0 nor 1"),
        ([[0.6, 0.5]], "sums to neither 0 nor 1"),
        ([[1.5, -0.5]], "negative"),
        ([[np.nan, 1.0]], "non-finite"),
        ([[np.inf, 1.0]], "non-finite"),
    ],
)
def test_what_is_no_share_is_refused(fractions: list[list[float]], reason: str) -> None:
    """Entries are finite and not negative; a row sums to 1, or to 0 where no endpoint is left."""
    with pytest.raises(MeshError, match=reason):
        shares(fractions)


def test_a_client_without_endpoints_has_a_row_of_zeros() -> None:
    """A row of zeros is valid and has no connections."""
    assert shares([[0.0, 0.0]]).row(ContainerName("c0")) == {}
    assert Shares((), (), np.zeros((0, 0))).connections == 0


def test_shape_and_names_must_fit() -> None:
    """One row per client, one column per endpoint, no name twice."""
    c, e = ContainerName("c"), ContainerName("e")
    with pytest.raises(MeshError, match=r"shape \(1, 2\), expected \(1, 1\)"):
        Shares((c,), (e,), np.array([[0.5, 0.5]]))
    with pytest.raises(MeshError, match="twice"):
        Shares((c, c), (e,), np.array([[1.0], [1.0]]))
    with pytest.raises(MeshError, match="twice"):
        Shares((c,), (e, e), np.array([[0.5, 0.5]]))


def test_nobody_changes_shares() -> None:
    """The array is read-only once it is in the value."""
    some = shares([[1.0]])

    with pytest.raises(ValueError, match="read-only"):
        some.fractions[0, 0] = 0.5


def test_same_as_compares_names_and_numbers() -> None:
    """Two shares are the same if every name and every entry is."""
    one = shares([[0.5, 0.5]])

    assert one.same_as(shares([[0.5, 0.5]]))
    assert not one.same_as(shares([[0.4, 0.6]]))
    assert not one.same_as(Shares(one.clients, tuple(reversed(one.endpoints)), one.fractions))


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(0.015625, 1e6)))
def test_normalised_rows_are_always_accepted(weights: NDArray[np.float64]) -> None:
    """Dividing any positive weights by their sum gives shares, and each row comes back whole."""
    some = shares((weights / weights.sum(axis=1, keepdims=True)).tolist())

    assert some.connections == weights.size
    assert all(abs(sum(some.row(client).values()) - 1.0) < 1e-9 for client in some.clients)


def test_links_that_open_and_close_are_counted_by_name() -> None:
    """A pair counts once, wherever its row and column stand; a weight that changes opens nothing."""
    before = shares([[0.5, 0.5], [0.0, 1.0]])
    turned = Shares(before.clients[::-1], before.endpoints[::-1], np.array([[1.0, 0.0], [0.9, 0.1]]))

    assert link_changes(before, turned) == (0, 0)
    assert link_changes(before, shares([[1.0, 0.0], [0.5, 0.5]])) == (1, 1)
    assert link_changes(None, before) == (3, 0)
    assert link_changes(before, None) == (0, 3)
