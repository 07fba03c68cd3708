"""What does a sidecar's own sight of requests in flight add to a good plan? Simulated; prints ratios to bias 0.

The plan is the oracle's transport plan (``oracle-transport-lr``), with targets right or wrong by 10 % each; only
``active_request_bias`` differs. p99, the median of the seeds. About 40 s a seed and all scenarios; one by default.

    python benchmarks/bench_bias_simulated.py [--seeds 3] [--scenarios s2,homogeneous]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.simulator.pair import Pair
from lab.simulator.policies.edf import BIAS, envoy_weights
from lab.simulator.policies.static_optimum import true_targets, truth_of
from lab.simulator.policies.transport import TransportLeastRequest, least_crossing
from lab.simulator.policy import Policy
from lab.simulator.run import simulate
from lab.simulator.scenarios import SCENARIOS

BIASES = (0.0, 0.3, 0.6, 1.0)


class Biased(TransportLeastRequest):
    """The transport plan, with targets wrong by ``error`` (standard deviation of their logarithm)."""

    def __init__(self, bias: float, error: float) -> None:
        self.bias, self.error = bias, error

    def start(self, pair: Pair) -> None:
        """Solve and push."""
        pair.memory[:, BIAS] = self.bias
        crosses = (pair.client_nodes[:, None] != pair.server_nodes[None, :]).astype(np.float64)
        targets = true_targets(pair)
        targets = targets * np.exp(np.random.default_rng(7).normal(0.0, self.error, targets.size))
        flows = least_crossing(truth_of(pair).client_rates, targets / targets.sum(), crosses)
        pair.push(envoy_weights(flows))


def p99_ms(scenario: str, bias: float, error: float, *, seeds: int) -> float:
    """Return the median over the seeds."""

    def policy() -> Policy:
        return Biased(bias, error)

    outcomes = (simulate(SCENARIOS[scenario](), policy, seed=seed) for seed in range(seeds))
    return statistics.median(
        1000.0 * float(np.quantile(outcome.latency_s[outcome.measured], 0.99)) for outcome in outcomes
    )


def main(scenarios: list[str], seeds: int) -> None:
    """Print one line for each scenario and error."""
    print(f"{'p99 simulated':32}{'bias 0':>10}" + "".join(f"{f'{bias:g}':>10}" for bias in BIASES[1:]) + "  (ratios)")
    for scenario in scenarios:
        for error in (0.0, 0.1):
            found = [p99_ms(scenario, bias, error, seeds=seeds) for bias in BIASES]
            ratios = "".join(f"{one / found[0]:10.3f}" for one in found[1:])
            print(f"{scenario + f', targets {error:.0%} wrong':32}{found[0]:7.1f} ms{ratios}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scenarios", default="s2,s2-85,homogeneous,hundred")
    options = parser.parse_args()
    main(options.scenarios.split(","), options.seeds)
