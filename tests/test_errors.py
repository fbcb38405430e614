"""The tree of errors and what they say."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from flowdecode import errors
from flowdecode.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    FlowdecodeError,
    NodeError,
    PlanCycleError,
    PlanError,
    PlanSyntaxError,
    RateLimited,
    RequestRejected,
    RunTimeout,
)

ALL = [
    ConfigurationError("x"),
    PlanError("x"),
    PlanSyntaxError("x"),
    PlanCycleError((1, 2, 1)),
    BackendUnavailable("x"),
    RateLimited("x", retry_after=2.5),
    RequestRejected("x"),
    ContextTooLong(tokens=5_000, limit=4_096),
    NodeError("7", ValueError("x")),
    RunTimeout(1.5),
]


def test_every_error_is_in_the_tree_and_in_its_drawing() -> None:
    drawing = inspect.getdoc(errors) or ""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), FlowdecodeError)
        assert name in drawing


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_has_a_message_and_no_result_until_a_run_ends_with_it(error: FlowdecodeError) -> None:
    assert str(error)
    assert error.partial is None


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_errors_cross_process_borders(error: FlowdecodeError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert {**vars(again)} == {**vars(error)}


def test_what_is_worth_another_try() -> None:
    retryable = {type(error) for error in ALL if isinstance(error, BackendError) and error.retryable}
    assert retryable == {BackendUnavailable, RateLimited}
    assert RateLimited("x").retry_after is None
    assert RateLimited("x", retry_after=2.5).retry_after == 2.5


def test_a_timeout_is_a_timeout_error_too() -> None:
    assert isinstance(RunTimeout(1.5), TimeoutError)
    assert str(RunTimeout(1.5)) == "The run did not finish within its timeout of 1.5 s."


def test_a_node_error_tells_node_and_cause() -> None:
    cause = ValueError("boom")
    error = NodeError("7", cause)
    assert (error.node_id, error.__cause__, str(error)) == ("7", cause, "Node '7' failed: boom")


@pytest.mark.parametrize("cause", [TimeoutError(), ValueError(), StopIteration(), KeyError()])
def test_a_node_error_names_a_cause_that_says_nothing(cause: Exception) -> None:
    assert str(NodeError("7", cause)) == f"Node '7' failed: {type(cause).__name__}"


def test_a_prompt_that_is_too_long_says_by_how_much() -> None:
    assert "at most 4,096 tokens, got 5,000 in the prompt" in str(ContextTooLong(tokens=5_000, limit=4_096))


def test_a_cycle_is_drawn() -> None:
    assert "1 -> 2 -> 1" in str(PlanCycleError((1, 2, 1)))
