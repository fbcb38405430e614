"""Everything that flowdecode raises.

    FlowdecodeError
    ├── ConfigurationError          a setting, a URL or a call that can't work
    ├── PlanError                   a plan that can't be run
    │   ├── PlanSyntaxError         no usable line in it
    │   └── PlanCycleError          its nodes wait for each other
    ├── BackendError                the engine, or the way to it
    │   ├── BackendUnavailable      unreachable, overloaded or gone      (retried)
    │   ├── RateLimited             it asks us to slow down              (retried)
    │   ├── RequestRejected         it refuses this request
    │   └── ContextTooLong          the request does not fit the model
    ├── NodeError                   a node failed; `node_id`, `__cause__`
    └── RunTimeout                  the run's time is up; a `TimeoutError` too

A message says what was expected, what came, where, and what to do. An error that ends a run
carries what the run had reached as `partial`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdecode.result import Result

__all__ = [
    "BackendError",
    "BackendUnavailable",
    "ConfigurationError",
    "ContextTooLong",
    "FlowdecodeError",
    "NodeError",
    "PlanCycleError",
    "PlanError",
    "PlanSyntaxError",
    "RateLimited",
    "RequestRejected",
    "RunTimeout",
]


class FlowdecodeError(Exception):
    """The root of the tree."""

    partial: Result | None = None
    """What the run had reached when this error ended it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders, whatever their constructors ask for."""
        return _restore, (type(self), self.args, self.__dict__, self.__cause__)


def _restore(
    kind: type[FlowdecodeError], args: tuple[Any, ...], state: dict[str, Any], cause: BaseException | None
) -> FlowdecodeError:
    error = kind.__new__(kind)
    error.args = args
    error.__cause__ = cause
    error.__dict__.update(state)
    return error


class ConfigurationError(FlowdecodeError):
    """A setting, a URL or a call that can't work, whatever the engine does."""


class PlanError(FlowdecodeError):
    """A plan that can't be run."""


class PlanSyntaxError(PlanError):
    """A plan's text holds no usable node."""


class PlanCycleError(PlanError):
    """A plan whose nodes wait for each other; `cycle` lists their ids, the first one again at the end."""

    def __init__(self, cycle: tuple[int, ...]) -> None:
        self.cycle = cycle
        path = " -> ".join(map(str, cycle))
        super().__init__(f"Expected a plan without cycles, got {path}. Remove one of these dependencies.")


class BackendError(FlowdecodeError):
    """The engine failed, or the way to it did."""

    retryable = False
    """Whether the same request may succeed a moment later."""

    retry_after: float | None = None
    """Seconds that the engine asks us to wait before the next try, where it says so."""


class BackendUnavailable(BackendError):
    """The engine can't be reached, is overloaded, or went away in the middle of a stream."""

    retryable = True


class RateLimited(BackendError):
    """The engine asks us to slow down."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestRejected(BackendError):
    """The engine refuses this request; sending it again would not help."""


class ContextTooLong(BackendError):
    """A request that does not fit the model's context length."""

    def __init__(self, *, tokens: int, limit: int, what: str = "the prompt") -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"Expected at most {limit:,} tokens, got {tokens:,} in {what}. "
            "Shorten it, or use a model with a longer context."
        )


class NodeError(FlowdecodeError):
    """A node of a graph failed; the error that it raised is the `__cause__`."""

    def __init__(self, node_id: str, cause: BaseException) -> None:
        self.node_id = node_id
        self.__cause__ = cause
        super().__init__(f"Node {node_id!r} failed: {str(cause) or type(cause).__name__}")


class RunTimeout(FlowdecodeError, TimeoutError):
    """The time given to a run is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"The run did not finish within its timeout of {seconds:g} s.")
