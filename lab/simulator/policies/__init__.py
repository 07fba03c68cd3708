"""One policy (or one family) a file; ``POLICIES`` names them for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lab.simulator.policies.aperture import DeterministicAperture
from lab.simulator.policies.askew import (
    Askew,
    AskewThree,
    AskewThreeOften,
    PerfectAskew,
    PerfectAskewThree,
)
from lab.simulator.policies.client_weighted import ClientWeighted
from lab.simulator.policies.imbres import Imbres, ImbresFullMesh, ImbresRandom, RandomPartial
from lab.simulator.policies.join_shortest import JoinShortestQueue, SharedTwoChoices
from lab.simulator.policies.least_request import LeastRequest
from lab.simulator.policies.load_aware_locality import LoadAwareLocality, LoadAwareLocalityInTurn
from lab.simulator.policies.opttraffic import OptTraffic
from lab.simulator.policies.peak_ewma import PeakEwma
from lab.simulator.policies.prefer_same_node import PreferSameNode
from lab.simulator.policies.prequal import Prequal
from lab.simulator.policies.random_choice import RandomChoice
from lab.simulator.policies.round_robin import RoundRobin
from lab.simulator.policies.static_optimum import StaticOptimum
from lab.simulator.policies.subsets import (
    RandomSubsetClientWeighted,
    RandomSubsetLeastRequest,
    RandomSubsetPrequal,
    Rocksteadier,
)
from lab.simulator.policies.transport import TransportLeastRequest, TransportRoundRobin
from lab.simulator.policies.zone_aware import ZoneAware
from lab.simulator.policy import Policy

POLICIES: Mapping[str, Callable[[], Policy]] = {
    "random": RandomChoice,
    "round-robin": RoundRobin,
    "least-request": LeastRequest,
    "prefer-same-node": PreferSameNode,
    "zone-aware": ZoneAware,
    "client-weighted": ClientWeighted,
    "load-aware-locality": LoadAwareLocality,
    "load-aware-locality-rr": LoadAwareLocalityInTurn,
    "random-subset": RandomSubsetLeastRequest,
    "random-subset-client-weighted": RandomSubsetClientWeighted,
    "random-subset-prequal": RandomSubsetPrequal,
    "deterministic-aperture": DeterministicAperture,
    "rocksteadier": Rocksteadier,
    "peak-ewma": PeakEwma,
    "prequal": Prequal,
    "random-partial": RandomPartial,
    "imbres": Imbres,
    "imbres-full-mesh": ImbresFullMesh,
    "imbres-random": ImbresRandom,
    "opttraffic": OptTraffic,
    "askew": Askew,
    "askew-3": AskewThree,
    "askew-3-tick-2": AskewThreeOften,
    "oracle-askew": PerfectAskew,
    "oracle-askew-3": PerfectAskewThree,
    "oracle-static-optimum": StaticOptimum,
    "oracle-transport-rr": TransportRoundRobin,
    "oracle-transport-lr": TransportLeastRequest,
    "oracle-shared-two-choices": SharedTwoChoices,
    "oracle-shortest-queue": JoinShortestQueue,
}
