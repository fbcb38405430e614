"""Traces and metrics through the OpenTelemetry API."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowdecode.usage import Usage

if TYPE_CHECKING:
    from flowdecode.attempt import Decode
    from flowdecode.backend import FinishReason
    from flowdecode.execution import Execution
    from flowdecode.node import Node

__all__ = ["Chat", "Workflow", "chat"]


class Workflow:
    """The span of a whole run."""

    def __init__(self, run: Execution) -> None:
        self._run = run

    def start(self) -> None:
        """Start the span and attach it to the current context, which is the run's own."""

    def end(self, error: BaseException | None) -> None:
        """End the span."""


class Chat:
    """The span of one node's decode."""

    headers: Mapping[str, str] = {}

    def first_chunk(self, seconds: float) -> None:
        """The first delta came, `seconds` after the node was sent."""

    def finished(self, reason: FinishReason | None, usage: Usage) -> None:
        """The node's decode has ended, for whatever reason."""


@contextmanager
def chat(run: Execution, node: Node[Any], job: Decode) -> Generator[Chat]:
    """The span of one node's decode, current inside the block."""
    yield Chat()
