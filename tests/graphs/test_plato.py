from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Capabilities, ModelProfile, Request
from flowdecode.context import Context
from flowdecode.errors import ConfigurationError, NodeError, PlanSyntaxError
from flowdecode_backends import words
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_graphs.plato import DIRECT, SERIAL, Plato
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from flowdecode_graphs.prompts import Prompts
from tests.graphs.scripts import ANSWER, DIAMOND, PARTS, PLAIN, PLANNER, part, script

pytestmark = pytest.mark.anyio

SETTINGS = [
    Plato(),
    Plato(pipelined=False),
    Plato(layout="canonical"),
    Plato(plan_view="full"),
    Plato(plan_view="none"),
    Plato(plan_view="none", layout="canonical", pipelined=False),
]


def request_for(engine: Scripted, match: str) -> Request:
    (found,) = [request for request in engine.requests if match in request.context.messages()[-1]["content"]]
    return found


def token_prefix(shorter: Context, longer: Context) -> bool:
    tokens = words.render(shorter)[:-1]
    return words.render(longer)[: len(tokens)] == tokens


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
async def test_parts_come_in_order_under_every_setting(settings: Plato) -> None:
    result = await flowdecode.run("Tea or coffee?", backend=Scripted(script()), strategy=settings)
    assert result.text == ANSWER
    assert (result.strategy, result.status, result.fallback_reason) == ("plato", "done", None)
    assert result.plan is not None
    assert [node.title for node in result.plan.nodes] == ["Tea", "Coffee", "Verdict"]
    assert [record.id for record in result.nodes] == ["plan", "1", "2", "3"]


async def test_a_part_starts_while_the_plan_is_still_written() -> None:
    engine = Scripted(script(pace=0.002))  # the clock of uvloop goes by milliseconds
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato")
    plan, tea, *_ = result.nodes
    assert plan.finished_at is not None
    assert tea.sent_at is not None
    assert tea.sent_at < plan.finished_at
    assert result.span < result.work


async def test_without_pipelining_parts_wait_for_the_whole_plan() -> None:
    engine = Scripted(script(pace=0.0))
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy=Plato(pipelined=False))
    plan, *parts = result.nodes
    assert all(record.planned_at >= (plan.finished_at or 0.0) for record in parts)
    assert {record.offset for record in parts} == {plan.usage.completion_tokens}


async def test_the_span_counts_the_plan_up_to_a_line_and_the_chain_behind_it() -> None:
    result = await flowdecode.run("Tea or coffee?", backend=Scripted(script()), strategy="plato")
    plan, tea, coffee, verdict = result.nodes
    tokens = [record.usage.completion_tokens for record in (plan, tea, coffee, verdict)]
    longest = max(max(tea.offset + tokens[1], coffee.offset + tokens[2]), verdict.offset) + tokens[3]
    assert result.span == max(longest, tokens[0])
    assert result.work == sum(tokens)


async def test_planner_and_parts_share_one_head_and_the_plan_s_own_tokens() -> None:
    engine = Scripted(script())
    await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato", system="Be brief.")
    planner, tea = request_for(engine, PLANNER), request_for(engine, part(1))
    coffee = request_for(engine, part(2))
    assert planner.context.messages()[0]["content"].startswith("Be brief.\n\n")
    assert token_prefix(planner.context, tea.context)
    assert token_prefix(planner.context, coffee.context)
    assert [message["content"] for message in coffee.context.messages()[-2:-1]] == [
        "1. Tea (20)\n2. Coffee (20)\n"
    ]
    plan_blocks = [block for block in coffee.context.blocks() if block.role == "assistant"]
    assert all(block.tokens for block in plan_blocks)


async def test_a_child_goes_on_with_its_spine_s_whole_conversation() -> None:
    engine = Scripted(script("1. Tea (20)\n2. Coffee (90)\n3. Verdict (12) <- 1, 2\n"))
    await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato")
    coffee, verdict = request_for(engine, part(2)), request_for(engine, part(3))
    assert token_prefix(coffee.context, verdict.context)
    spoken, last = verdict.context.messages()[-2:]
    assert spoken == {"role": "assistant", "content": PARTS[2]}
    assert "3. Verdict (12) <- 1, 2" in last["content"]
    assert last["content"].index(PARTS[1]) < last["content"].index(part(3))
    assert PARTS[2] not in last["content"]


async def test_the_canonical_layout_puts_the_parents_behind_the_plan() -> None:
    engine = Scripted(script())
    await flowdecode.run("Tea or coffee?", backend=engine, strategy=Plato(layout="canonical"))
    planner, verdict = request_for(engine, PLANNER), request_for(engine, part(3))
    plan, last = verdict.context.messages()[-2:]
    assert token_prefix(planner.context, verdict.context)
    assert plan == {"role": "assistant", "content": DIAMOND}
    assert last["content"].index(PARTS[1]) < last["content"].index(PARTS[2]) < last["content"].index(part(3))


@pytest.mark.parametrize(
    ("view", "seen"), [("so-far", "1. Tea (20)\n"), ("full", DIAMOND), ("none", None)], ids=str
)
async def test_a_part_sees_as_much_of_the_plan_as_it_is_told_to(view: Any, seen: str | None) -> None:
    engine = Scripted(script())
    await flowdecode.run("Tea or coffee?", backend=engine, strategy=Plato(plan_view=view))
    contents = [message["content"] for message in request_for(engine, part(1)).context.messages()]
    if seen is None:
        assert "1. Tea (20)" not in contents[-1]
        assert len(contents) == 2
    else:
        assert contents[-2] == seen


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
async def test_the_prefix_hits_are_those_that_were_expected(settings: Plato) -> None:
    """The scripted engine shows a prompt to others at once, and what was decoded when its request ends."""
    result = await flowdecode.run("Tea or coffee?", backend=Scripted(script()), strategy=settings)
    for record in result.nodes[1:]:
        assert record.expected_cached_tokens > 200
        assert record.usage.cached_tokens >= record.expected_cached_tokens


async def test_a_hidden_part_is_seen_by_its_children_alone() -> None:
    plan = "1. Choice (8) hidden\n2. Coffee (20) <- 1\n3. Verdict (20) <- 1\n"
    engine = Scripted(script(plan))
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato")
    assert PARTS[1] not in result.text
    assert result.text.startswith("## Coffee")
    assert PARTS[1] in request_for(engine, part(2)).context.messages()[-2]["content"]


async def test_direct_means_the_plain_answer() -> None:
    engine = Scripted(script("direct\n"))
    result = await flowdecode.run("Tea?", backend=engine, strategy="plato", on_error="raise")
    assert (result.text, result.strategy, result.fallback_reason) == (PLAIN, "sequential", DIRECT)
    assert engine.requests[-1].context.messages() == [{"role": "user", "content": "Tea?"}]
    assert result.span == result.work == sum(record.usage.completion_tokens for record in result.nodes)


async def test_the_planner_is_stopped_once_it_said_direct() -> None:
    engine = Scripted(script("direct\nI think that " + "no plan is needed. " * 50))
    result = await flowdecode.run("Tea?", backend=engine, strategy="plato")
    assert result.nodes[0].usage.completion_tokens < 5
    assert len(engine.aborted) == 1


async def test_a_chain_falls_back_where_nothing_was_emitted() -> None:
    plan = "1. Choice (8) hidden\n2. Coffee <- 1\n"
    engine = Scripted(script(plan, parts={1: Reply("Tea.", match=part(1), delay=60)}))
    result = await flowdecode.run("Tea?", backend=engine, strategy="plato")
    assert (result.text, result.strategy, result.fallback_reason) == (PLAIN, "sequential", SERIAL)
    assert engine.running == 0
    assert result.usage.wasted_tokens == 0


async def test_a_chain_that_has_begun_is_finished() -> None:
    plan = "1. Tea (8)\n2. Coffee (8) <- 1\n"
    result = await flowdecode.run("Tea?", backend=Scripted(script(plan, pace=0.0)), strategy="plato")
    assert result.strategy == "plato"
    assert result.text == ANSWER.partition("\n\n## Verdict")[0]


async def test_a_malformed_plan_falls_back_or_raises() -> None:
    result = await flowdecode.run("Tea?", backend=Scripted(script("Well, it depends.")), strategy="plato")
    assert (result.text, result.strategy) == (PLAIN, "sequential")
    assert "Well, it depends" in (result.fallback_reason or "")
    with pytest.raises(PlanSyntaxError, match="Expected a plan or the word direct") as caught:
        await flowdecode.run(
            "Tea?", backend=Scripted(script("Well, it depends.")), strategy="plato", on_error="raise"
        )
    assert caught.value.partial is not None
    assert caught.value.partial.usage.completion_tokens > 0


async def test_what_was_repaired_stands_in_the_plan() -> None:
    plan = "1. Tea (20)\n2. Coffee (20) <- 7\n3. Verdict (12) <- 1, 2\n"
    result = await flowdecode.run("Tea or coffee?", backend=Scripted(script(plan)), strategy="plato")
    assert result.text == ANSWER
    assert result.plan is not None
    assert any("7" in remark for remark in result.plan.remarks)


@pytest.mark.parametrize("on_error", ["fallback", "partial", "raise"])
async def test_a_failing_part(on_error: Any) -> None:
    parts = PARTS | {2: Reply("Coffee is strong", match=part(2), pace=0.0, fault=Fault(2, "rejected"))}
    run = flowdecode.run(
        "Tea or coffee?", backend=Scripted(script(parts=parts)), strategy="plato", on_error=on_error
    )
    if on_error == "raise":
        with pytest.raises(NodeError, match="Node '2' failed"):
            await run
        return
    result = await run
    if on_error == "partial":
        assert result.status == "partial"
        assert result.text.endswith("Coffee is[Missing: Coffee]\n\n## Verdict\n\n[Missing: Verdict]")
        assert [record.status for record in result.nodes] == ["done", "done", "failed", "skipped"]
    else:
        assert result.status == "done"
        assert result.fallback_reason is not None
        assert result.strategy in ("plato", "sequential")
        assert result.text.startswith("## Tea") or result.text == PLAIN


async def test_after_the_first_emitted_text_a_fallback_goes_on_behind_it() -> None:
    parts = PARTS | {2: Reply("Coffee is strong", match=part(2), pace=0.0, fault=Fault(2, "rejected"))}

    def answer(request: Request) -> Reply:
        last = request.context.messages()[-1]
        if last["role"] == "assistant" and last["content"].startswith("## Tea"):
            return Reply(last["content"] + " and the rest.")
        return next(reply for reply in replies if reply.match is None or reply.match in last["content"])

    replies = script("1. Tea (20)\n2. Coffee (20) <- 1\n3. Verdict (9)\n", parts=parts)
    engine = Scripted(answer)
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato")
    assert result.text.startswith("## Tea\n\nTea is mild and green.\n\n## Coffee\n\nCoffee is")
    assert result.text.endswith(" and the rest.")
    assert result.strategy == "plato"
    assert "Node '2' failed" in (result.fallback_reason or "")


async def test_the_grammar_is_sent_to_engines_that_take_one() -> None:
    for able in (True, False):
        capabilities = Capabilities(token_ids=True, assistant_prefill=True, grammar=able)
        engine = Scripted(script(), capabilities=capabilities)
        await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato")
        sent = [request.grammar for request in engine.requests]
        assert sent == [PLAN_GRAMMAR if able else None, None, None, None]


async def test_max_tokens_bounds_the_answer_and_not_the_plan() -> None:
    result = await flowdecode.run(
        "Tea or coffee?", backend=Scripted(script()), strategy="plato", max_tokens=10
    )
    plan, *parts = result.nodes
    assert plan.status == "done"
    assert sum(record.usage.completion_tokens for record in parts) <= 10
    assert "truncated" in {record.status for record in parts}


async def test_length_hints_are_no_limits() -> None:
    plan = "1. Tea (1)\n2. Coffee (1)\n3. Verdict (1) <- 1, 2\n"
    result = await flowdecode.run(
        "Tea or coffee?", backend=Scripted(script(plan)), strategy="plato", max_tokens=200
    )
    assert result.text == ANSWER


async def test_the_width_holds_for_planner_and_parts_together() -> None:
    engine = Scripted(script(pace=0.0))
    most = 0

    def watch(request: Request) -> Reply:
        nonlocal most
        most = max(most, engine.running + 1)
        last = request.context.messages()[-1]["content"]
        return next(reply for reply in script(pace=0.0) if reply.match is None or reply.match in last)

    engine.script = Scripted(watch).script
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="plato", width=2)
    assert result.text == ANSWER
    assert most == 2


async def test_prompts_can_be_replaced_by_the_user_and_by_the_model() -> None:
    pack = {"rules": "Plan, then write.", "plan": "\nPlan:", "part": "Write {id}: {title} {tokens} {x}"}
    mine = Prompts(rules="My rules.", plan="\nWrite only the plan.", heading="{title}: ", gap="\n")
    profile = ModelProfile(prompts=pack)
    replies = [
        Reply(DIAMOND, match="Plan:"),
        Reply("A", match="Write 1: Tea 20 {x}"),
        Reply("B", match="Write 2:"),
        Reply("C", match="Write 3:"),
    ]
    result = await flowdecode.run("?", backend=Scripted(replies, profile=profile), strategy="plato")
    assert result.text == "## Tea\n\nA\n\n## Coffee\n\nB\n\n## Verdict\n\nC"
    result = await flowdecode.run(
        "?", backend=Scripted(script(), profile=profile), strategy=Plato(prompts=mine)
    )
    assert result.text == ANSWER.replace("## ", "").replace("\n\n## ", "\n").replace(
        "Tea\n\n", "Tea: "
    ).replace("Coffee\n\n", "Coffee: ").replace("Verdict\n\n", "Verdict: ").replace("\n\n", "\n")


async def test_a_model_s_pack_with_an_unknown_field_is_refused() -> None:
    engine = Scripted(script(), profile=ModelProfile(prompts={"rulez": "?"}))
    with pytest.raises(ConfigurationError, match="rulez"):
        await flowdecode.run("?", backend=engine, strategy="plato")


async def test_the_difficulty_of_a_part_picks_its_engine() -> None:
    small = Scripted([Reply("Small tea.", match=part(1))], model="small")
    plan = "1. Tea (20, easy)\n2. Coffee (20, hard)\n3. Verdict (12, hard) <- 1, 2\n"
    engine = Scripted(script(plan))
    result = await flowdecode.run("?", backend=engine, strategy=Plato(backends={"easy": small}))
    assert result.text == ANSWER.replace(PARTS[1], "Small tea.")
    assert len(small.requests) == 1
    assert "easy or hard" in engine.requests[0].context.messages()[0]["content"]
    for request in (*small.requests, *engine.requests):
        assert all(block.tokens is None for block in request.context.blocks())


async def test_thinking_is_off_unless_the_user_says_else() -> None:
    engine = Scripted(script())
    await flowdecode.run("?", backend=engine, strategy="plato")
    await flowdecode.run(
        "?", backend=engine, strategy="plato", chat_template_kwargs={"enable_thinking": True}
    )
    kwargs = [request.context.chat_template_kwargs for request in engine.requests]
    assert kwargs == [{"enable_thinking": False}] * 4 + [{"enable_thinking": True}] * 4


async def test_explain_decodes_only_the_plan() -> None:
    engine = Scripted(script())
    async with flowdecode.connect(engine) as flow:
        explanation = await flow.explain("Tea or coffee?")
        assert len(engine.requests) == 1
        ran = await flow.run("Tea or coffee?", strategy="plato")
    assert explanation.plan.nodes == (ran.plan.nodes if ran.plan else ())
    assert explanation.note is None
    assert explanation.predicted_speedup == pytest.approx(52 / explanation.plan.span)
    for record in ran.nodes[1:]:
        predicted = explanation.plan.nodes[int(record.id) - 1].expected_prompt_tokens
        assert record.usage.prompt_tokens == pytest.approx(predicted, abs=60)


async def test_explain_says_why_there_would_be_no_plan() -> None:
    async with flowdecode.connect(Scripted(script("direct\n"))) as flow:
        explanation = await flow.explain("Tea?")
        assert (explanation.note, explanation.plan.nodes) == (DIRECT, ())
        with pytest.raises(ConfigurationError, match="plans"):
            await flow.explain("Tea?", strategy="sequential")


@pytest.mark.parametrize("at", range(7))
async def test_a_fallback_leaves_no_hole_whenever_the_fault_comes(at: int) -> None:
    parts = PARTS | {1: Reply("Tea is mild and green.", match=part(1), pace=0.0, fault=Fault(at, "rejected"))}
    plan = "1. Tea (20)\n2. Coffee (20) <- 1\n3. Verdict (12) <- 1, 2\n4. Night (9)\n5. Day (9) <- 1\n"
    result = await flowdecode.run("?", backend=Scripted(script(plan, parts=parts)), strategy="plato")
    assert "Missing" not in result.text
    assert result.status == "done"
    assert result.text.endswith(PLAIN)


async def test_hidden_parts_leave_max_tokens_to_the_answer() -> None:
    plan = "1. Choice (90) hidden\n2. Coffee (20) <- 1\n3. Verdict (20) <- 1\n"
    result = await flowdecode.run("?", backend=Scripted(script(plan)), strategy="plato", max_tokens=6)
    by_id = {record.id: record for record in result.nodes}
    assert by_id["1"].status == "done"
    assert by_id["2"].usage.completion_tokens + by_id["3"].usage.completion_tokens == 6
    assert result.status == "truncated"


class Slow(Scripted):
    """An engine that takes a moment to be let go."""

    closed = False

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.sleep(0)
        assert self.running == 0
        self.closed = True


async def test_the_other_engines_are_let_go_after_their_requests_whatever_happens() -> None:
    plan = "1. Tea (20, easy)\n2. Coffee (20)\n"
    parts = PARTS | {2: Reply("Coffee", match=part(2), pace=0.0, fault=Fault(0, "rejected"))}
    small = Slow([Reply("tea " * 900, match=part(1), pace=0.0)])
    with pytest.raises(NodeError):
        await flowdecode.run(
            "?",
            backend=Scripted(script(plan, parts=parts)),
            strategy=Plato(backends={"easy": small}),
            on_error="raise",
        )
    assert small.closed


async def test_settings_are_checked() -> None:
    with pytest.raises(ConfigurationError, match=r"spine, canonical, got 'star' - at `layout`"):
        Plato(layout="star")  # type: ignore[arg-type]
