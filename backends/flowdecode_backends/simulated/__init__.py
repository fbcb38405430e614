"""The simulated backend and virtual time: load studied in seconds, with no model and no GPU.

    result = simulate(flowdecode.run("What is tea?", backend=Simulated(engines=2)))

Durations in the result are those of the cost model.
"""

from flowdecode_backends.simulated.backend import Simulated, open_simulated
from flowdecode_backends.simulated.clock import DeadlockError, SimulatedLoop, simulate
from flowdecode_backends.simulated.cost import CostModel
from flowdecode_backends.simulated.generated import GeneratedReplies
from flowdecode_backends.simulated.profile import Profile

__all__ = [
    "CostModel",
    "DeadlockError",
    "GeneratedReplies",
    "Profile",
    "Simulated",
    "SimulatedLoop",
    "open_simulated",
    "simulate",
]
