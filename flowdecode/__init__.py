"""One prompt, many decoders: answers decoded as graphs of coroutines that await their parents."""

from flowdecode.backend import Backend
from flowdecode.errors import (
    BackendError,
    ConfigurationError,
    FlowdecodeError,
    NodeError,
    PlanError,
    RunTimeout,
)
from flowdecode.flow import Flow, connect, run, stream
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plan import Plan, PlanNode
from flowdecode.result import NodeRecord, Result
from flowdecode.sampling import Sampling
from flowdecode.strategy import Strategy
from flowdecode.streaming import Run
from flowdecode.usage import Usage

__all__ = [
    "Backend",
    "BackendError",
    "ConfigurationError",
    "Flow",
    "FlowdecodeError",
    "Graph",
    "Node",
    "NodeError",
    "NodeRecord",
    "Plan",
    "PlanError",
    "PlanNode",
    "Result",
    "Run",
    "RunTimeout",
    "Sampling",
    "Strategy",
    "Usage",
    "connect",
    "run",
    "stream",
]
