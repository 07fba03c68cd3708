"""OptTraffic's traffic allocator to the letter (ICPP 2023, figure 8): equal rates, equal targets, one row a node.

Every client counts as sending 1 and every endpoint as wanting m/n, for m clients and n endpoints, whatever they really
do: the strategy ``askew`` is the rule for unequal ones.
"""

from __future__ import annotations

import numpy as np

from allocators.layout import Floats, Layout
from mesh.topology import Distance

RESIDUE = 1e-9


def two_steps(layout: Layout) -> Floats:
    """Return fractions, shape ``(N, M)``, that are the same for all clients of a node.

    Step 1: on each node with m_i clients and n_i endpoints, every client sends ``min((m/n)/m_i, 1/n_i)`` to every
    endpoint. Step 2: every endpoint that lacks something takes it from nodes that have something left, both in order.
    Cost O(H·M) for H nodes.
    """
    client_nodes, endpoint_nodes = layout.client_groups[Distance.NODE], layout.endpoint_groups[Distance.NODE]
    count = layout.group_counts[Distance.NODE]
    clients_on = np.bincount(client_nodes, minlength=count)
    endpoints_on = np.bincount(endpoint_nodes, minlength=count)
    need = len(client_nodes) / len(endpoint_nodes)
    local = np.minimum(need / np.maximum(clients_on, 1), 1.0 / np.maximum(endpoints_on, 1))
    local[(clients_on == 0) | (endpoints_on == 0)] = 0.0
    rows = np.where(np.arange(count)[:, None] == endpoint_nodes, local[:, None], 0.0)
    lacking = need - clients_on[endpoint_nodes] * local[endpoint_nodes]
    left = (clients_on * (1.0 - endpoints_on * local)).tolist()  # of all clients of a node together
    givers = [node for node in range(count) if left[node] > RESIDUE]
    for endpoint, lack in enumerate(lacking.tolist()):
        while lack > RESIDUE and givers:
            node = givers[0]
            given = min(left[node], lack)
            rows[node, endpoint] += given / clients_on[node]
            left[node] -= given
            lack -= given
            if left[node] <= RESIDUE:
                givers.pop(0)
    sums = rows.sum(axis=1, keepdims=True)
    return np.asarray((rows / np.where(sums > 0, sums, 1.0))[client_nodes])
