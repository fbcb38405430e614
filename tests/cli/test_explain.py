"""`flowdecode explain`."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode.explanation import Explanation
from flowdecode_backends.scripted import Reply

Capture = pytest.CaptureFixture[str]
Script = Callable[..., str]

PLAN = "1. Origin [bold]of[/bold] tea (80)\n2. Notes (60) hidden\n3. Verdict (40) <- 1, 2\n"


def explain(script: Script, text: str, *args: str) -> int:
    return main(["explain", "What is tea?", "--backend", script(Reply(text)), *args])


def test_plan_is_printed_as_table_graph_and_figures(script: Script, capsys: Capture) -> None:
    assert explain(script, PLAN) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    table, graph, figures = captured.out.split("\n\n")
    header, *rows = (re.split(r" {2,}", line.strip()) for line in table.splitlines())
    assert header == ["id", "title", "parents", "tokens", "shown", "prefix hit"]
    assert [row[:-1] for row in rows] == [
        ["1", "Origin [bold]of[/bold] tea", "80", "yes"],
        ["2", "Notes", "60", "no"],
        ["3", "Verdict", "1, 2", "40", "yes"],
    ]
    assert all(re.fullmatch(r"\d+ of \d+", row[-1]) for row in rows)
    assert graph.startswith("flowchart TD\n")
    assert "n1 --> n3" in graph
    number = r"\d+\.\d\d"
    assert re.fullmatch(
        rf"work \d+ tokens, span \d+ tokens, parallelism {number}, predicted gain {number}x\n", figures
    )


def test_json_is_the_explanation_with_its_figures(script: Script, capsys: Capture) -> None:
    assert explain(script, PLAN, "--json") == 0
    printed = capsys.readouterr().out
    explanation = msgspec.json.decode(printed, type=Explanation)
    assert [node.parents for node in explanation.plan.nodes] == [(), (), (1, 2)]
    figures = msgspec.json.decode(printed, type=dict[str, object])
    assert figures["work"] == explanation.plan.work
    assert figures["predicted_speedup"] == pytest.approx(explanation.predicted_speedup)


def test_model_that_would_answer_directly(script: Script, capsys: Capture) -> None:
    assert explain(script, "direct\n") == 0
    assert capsys.readouterr().out.startswith("the model ")


@pytest.mark.parametrize(
    ("args", "exit_code", "message"),
    [
        (["--strategy", "sequential"], 2, "Expected a strategy that plans"),
        (["--strategy", "psychic"], 2, "got 'psychic' - at strategies"),
        ([], 1, "Expected a plan or the word direct"),
    ],
)
def test_prompt_without_a_plan_is_one_line(
    args: list[str], exit_code: int, message: str, script: Script, capsys: Capture
) -> None:
    assert explain(script, "Leaves and water.", *args) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
