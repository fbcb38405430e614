from __future__ import annotations

import pytest

import flowdecode
from flowdecode.backend import Capabilities
from flowdecode.errors import PlanSyntaxError
from flowdecode_backends.scripted import Reply, Scripted
from flowdecode_graphs.skeleton import Skeleton

pytestmark = pytest.mark.anyio

POINTS = "1. Sleep well\n2. **Eat fruit.**\n3. Walk daily\n"


def script(*, route: str = "A", skeleton: str = POINTS) -> list[Reply]:
    return [
        Reply(route, match="Say only A, B or C", pace=0.0),
        Reply(skeleton, match="Give only the skeleton", pace=0.0),
        Reply("1. Sleep well: eight hours.", match="Write point 1,", pace=0.0),
        Reply("2. Eat fruit: twice a day.", match="Write point 2,", pace=0.0),
        Reply("3. Walk daily: for an hour.", match="Write point 3,", pace=0.0),
        Reply("Rest, eat and move.", pace=0.0),
    ]


ANSWER = "1. Sleep well: eight hours.\n2. Eat fruit: twice a day.\n3. Walk daily: for an hour."


async def test_points_are_written_side_by_side_behind_their_titles() -> None:
    engine = Scripted(script())
    result = await flowdecode.run("How to be well?", backend=engine, strategy="skeleton")
    assert result.text == ANSWER
    assert (result.strategy, result.status) == ("skeleton", "done")
    assert result.plan is not None
    assert [node.title for node in result.plan.nodes] == ["Sleep well", "Eat fruit", "Walk daily"]
    assert [request.context.messages()[-1]["content"] for request in engine.requests[2:]] == [
        "1. Sleep well",
        "2. Eat fruit",
        "3. Walk daily",
    ]


async def test_no_point_starts_before_the_skeleton_is_complete() -> None:
    result = await flowdecode.run("How?", backend=Scripted(script()), strategy="skeleton")
    router, skeleton, *points = result.nodes
    assert router.finished_at is not None
    assert skeleton.finished_at is not None
    assert router.finished_at <= skeleton.planned_at
    assert all(point.planned_at >= skeleton.finished_at for point in points)
    before = router.usage.completion_tokens + skeleton.usage.completion_tokens
    assert {point.offset for point in points} == {before}
    assert result.span == before + max(point.usage.completion_tokens for point in points)


async def test_engines_without_prefill_are_told_how_to_begin() -> None:
    engine = Scripted(script(), capabilities=Capabilities())
    result = await flowdecode.run("How to be well?", backend=engine, strategy="skeleton")
    assert result.text == ANSWER
    assert all(request.context.block.role == "user" for request in engine.requests)


@pytest.mark.parametrize("route", ["B", "C", "I would say (C).", "no idea"])
async def test_other_routes_are_answered_sequentially(route: str) -> None:
    result = await flowdecode.run("How?", backend=Scripted(script(route=route)), strategy="skeleton")
    assert (result.text, result.strategy) == ("Rest, eat and move.", "sequential")
    assert "independent points" in (result.fallback_reason or "")


async def test_the_router_can_be_left_out() -> None:
    engine = Scripted(script(route="C"))
    result = await flowdecode.run("How?", backend=engine, strategy=Skeleton(router=False))
    assert result.text == ANSWER


async def test_a_skeleton_without_points() -> None:
    replies = script(skeleton="It depends.")
    result = await flowdecode.run("How?", backend=Scripted(replies), strategy="skeleton")
    assert (result.text, result.strategy) == ("Rest, eat and move.", "sequential")
    with pytest.raises(PlanSyntaxError, match="numbered list"):
        await flowdecode.run("How?", backend=Scripted(replies), strategy="skeleton", on_error="raise")


async def test_at_most_ten_points() -> None:
    skeleton = "".join(f"{n}. Point {n}\n" for n in range(1, 15))
    replies = [*script(skeleton=skeleton)[:2], Reply("x", pace=0.0)]
    result = await flowdecode.run("How?", backend=Scripted(replies), strategy=Skeleton())
    assert result.plan is not None
    assert len(result.plan.nodes) == 10
