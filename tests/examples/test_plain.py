"""The examples that need nothing but flowdecode."""

from __future__ import annotations

import re

import pytest

from examples import many_prompts, own_graph
from flowdecode_backends.replies import read_replies
from tests.examples.conftest import Example, Script, Start
from tests.examples.engine import DEMO, EXAMPLES, Watched, fast, hanging
from tests.leaks import no_leaks

ANSWER = "## Origin\n\nTea comes from"
MANY = read_replies(str(EXAMPLES / "many_prompts.jsonl"))
OWN = read_replies(str(EXAMPLES / "own_graph.jsonl"))


def test_one_run_prints_the_answer_and_how_it_came_about(example: Example) -> None:
    answer, _, figures = example("one_run.py").rpartition("\n\n")
    assert answer.startswith(ANSWER)
    assert answer.endswith(DEMO[-2].text)
    first, *parts = figures.splitlines()
    assert re.fullmatch(r"plato: \d+ tokens, of which \d+ one after another", first)
    assert len(parts) == 6
    assert parts[-1].endswith("Which to drink in the evening, after 1, 3, 4")


def test_one_run_says_why_there_is_no_answer(start: Start, script: Script) -> None:
    with start("one_run.py", script([])) as process:
        out, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert err.startswith("No answer: Expected a request that matches a reply of the script")
    assert out.strip() == ""


def test_streaming_prints_the_text_then_the_events(example: Example, script: Script) -> None:
    answer, _, events = example("streaming.py", script(fast(DEMO))).rpartition("\n\n")
    assert answer.startswith(ANSWER)
    assert re.search(r"\n\n1\d{3} characters in \d\.\d\d s$", answer)
    happened = [re.split(r" s +\d+ characters +", line)[1] for line in events.splitlines()]
    assert {"answer: cancelled", "Plan: done", "Origin: started", "Taste: done"} < set(happened)
    assert happened[-1] == "Which to drink in the evening: done"


def test_streaming_prints_the_text_as_it_comes(start: Start, script: Script) -> None:
    with start("streaming.py", script(hanging(fast(DEMO), "only part 3,", after_tokens=20))) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(6)]
            assert process.poll() is None
        finally:
            process.kill()
    assert "".join(lines).startswith(ANSWER)
    assert lines[4] == "## Caffeine\n"


def test_own_graph_prints_what_each_step_came_to(example: Example) -> None:
    table, choice, message, figures = example("own_graph.py").strip().split("\n\n")
    assert [line.partition(":")[0] for line in table.splitlines()] == ["Porto", "Évora", "Coimbra"]
    assert choice.startswith("Évora:")
    assert message.startswith("Évora this weekend?")
    assert re.fullmatch(r"13 nodes in \d\.\d\d s", figures)


@pytest.mark.anyio
async def test_own_graph_asks_side_by_side_with_the_tools_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Watched(fast(OWN))
    monkeypatch.setattr(own_graph, "BACKEND", backend)
    async with no_leaks(backend):
        await own_graph.main()
    assert backend.peak == 3
    verdict = backend.asked("Town: Évora").context.messages()[-1]
    assert "Forecast: 27 °C, sunny\nSights: The Roman temple" in verdict["content"]
    choice, message = backend.asked("Choose one").context, backend.asked("in one line").context
    assert "\nCoimbra: Yes, if one likes stairs" in choice.messages()[-1]["content"]
    assert message.messages()[:-2] == choice.messages()


def test_many_prompts_prints_every_answer(example: Example) -> None:
    lines = example("many_prompts.py").splitlines()
    assert sorted(line.partition("?")[0] for line in lines) == sorted(
        question.rstrip("?") for question in many_prompts.QUESTIONS
    )
    assert [line.partition(" FAILED")[0] for line in lines if "FAILED" in line] == [
        "Who is in the phone book?"
    ]
    assert any("The Moon pulls harder" in line for line in lines), "asked again when the engine was less busy"


@pytest.mark.anyio
async def test_many_prompts_keeps_to_its_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Watched(fast(reply for reply in MANY if reply.fault is None))
    monkeypatch.setattr(many_prompts, "BACKEND", backend)
    async with no_leaks(backend):
        await many_prompts.main()
    assert backend.peak == many_prompts.CONCURRENCY
    assert len(backend.requests) == len(many_prompts.QUESTIONS)
