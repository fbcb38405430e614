"""The examples that need nothing but flowdecode."""

from __future__ import annotations

import itertools
import re

import pytest

from examples import many_prompts, one_run, own_graph, streaming, tracing
from flowdecode_backends.replies import read_replies
from flowdecode_graphs.atlas import questions, score
from tests.examples.conftest import Example, Script, Start
from tests.examples.engine import ATLAS, EXAMPLES, Watched, fast, hanging
from tests.leaks import no_leaks

FIRST = "My choice is the White Fox."
OWN = read_replies(str(EXAMPLES / "own_graph.jsonl"))

# The tests that start an example without a backend hold for any engine that answers well: they run on what
# the examples name themselves.


def test_one_run_prints_the_answer_and_how_it_came_about(example: Example) -> None:
    answer, _, figures = example("one_run.py").rpartition("\n\n")
    assert answer.startswith("## ")
    assert re.search(r"In total: \d+ \+ \d+ = \d+", answer)
    first, *parts = figures.splitlines()
    assert re.fullmatch(r"plato: \d+ tokens, of which \d+ one after another", first)
    assert len(parts) >= 4
    assert all(re.match(r" +\d+\.\d\d to \d+\.\d\d s  \w", part) for part in parts)
    assert any(", after " in part for part in parts)


def test_one_run_says_why_there_is_no_answer(start: Start, script: Script) -> None:
    with start("one_run.py", script([])) as process:
        out, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert err.startswith("No answer: Expected a request that matches a reply of the script")
    assert out.strip() == ""


def test_streaming_prints_the_text_then_the_events(example: Example) -> None:
    answer, _, events = example("streaming.py").rpartition("\n\n")
    assert answer.startswith("## ")
    assert re.search(r"\n\n\d+ characters in \d+\.\d\d s$", answer)
    happened = [re.split(r" s +\d+ characters +", line)[1] for line in events.splitlines()]
    assert {"answer: cancelled", "Plan: done"} < set(happened)
    assert sum(line.endswith(": started") for line in happened) >= 6
    assert happened[-1].endswith(": done")


def test_streaming_prints_the_text_as_it_comes(start: Start, script: Script) -> None:
    with start("streaming.py", script(hanging(fast(ATLAS), "only part 2,", after_tokens=5))) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(6)]
            assert process.poll() is None
        finally:
            process.kill()
    assert lines[2].startswith(FIRST)
    assert lines[4] == "## Food\n"


def test_tracing_prints_a_line_for_every_span(example: Example) -> None:
    spans, _, answer = example("tracing.py").partition("\n\n")
    assert answer.startswith("## ")
    lines = [re.sub(r"^ +\d+\.\d\d s  ", "", line) for line in spans.splitlines()]
    assert lines[-2:] == ["invoke_workflow flowdecode", "plan a trip"]
    assert "flowdecode.plan" in lines
    decodes = [line for line in lines if line.startswith("chat ")]
    assert len(decodes) >= 6
    assert sum("ended: cancelled" in line for line in decodes) == 1
    assert any(
        re.search(r"built on \d, \d+ tokens, \d+ of \d+ prompt tokens cached$", line) for line in decodes
    )


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
    asked = [re.match(r"\(blank\)|[^.?]+[.?]", line) for line in lines]
    assert sorted(match[0] for match in asked if match) == sorted(
        question or "(blank)" for question in many_prompts.QUESTIONS
    )
    assert [line for line in lines if "FAILED" in line] == [
        "(blank) FAILED: Expected a question or a task, got an empty text - at `prompt`."
    ]
    assert any("only the Atlas" in line for line in lines if line.startswith("Tell me a story."))


@pytest.mark.anyio
async def test_many_prompts_keeps_to_its_concurrency(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = Watched(fast(ATLAS))
    monkeypatch.setattr(many_prompts, "BACKEND", backend)
    async with no_leaks(backend):
        await many_prompts.main()
    assert backend.peak == many_prompts.CONCURRENCY
    assert len(backend.requests) == len(many_prompts.QUESTIONS), "one is blank, another is asked for twice"
    assert "The River Ethenna" in capsys.readouterr().out, "asked again when the engine was less busy"


def test_the_stand_in_knows_the_atlas() -> None:
    texts = {reply.match: reply.text for reply in ATLAS if reply.match and reply.fault is None}
    plain = [match for match in texts if match.startswith("Help me")]
    asked = {one_run.PROMPT: texts[plain[0]]} | {q: texts[q] for q in many_prompts.QUESTIONS if q}
    assert streaming.PROMPT == tracing.PROMPT == one_run.PROMPT
    drawn = itertools.islice(questions("train", seed=2), 3000)
    known = {question.prompt: question for question in drawn if question.prompt in asked}
    assert len(known) >= 8
    for prompt, question in known.items():
        assert score(question, asked[prompt]).value == 1.0, prompt
