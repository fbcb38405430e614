from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowdecode_graphs.atlas import KINDS, REFUSAL, heldout_questions, reference
from flowdecode_graphs.plato.language import plan_text

PAGE = (Path(__file__).parents[3] / "docs" / "atlas.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^> (?P<prompt>.+)\n\n(?P<plan>(?:    .+\n)+)", re.MULTILINE)


def test_examples_are_heldout_questions_with_their_plans() -> None:
    by_prompt = {question.prompt: question for question in heldout_questions()}
    examples = list(EXAMPLE.finditer(PAGE))
    assert [by_prompt[example["prompt"]].kind for example in examples] == list(KINDS)
    for example in examples:
        answer = reference(by_prompt[example["prompt"]])
        wanted = "direct\n" if answer.direct else plan_text(answer.plan.nodes)
        assert re.sub("^    ", "", example["plan"], flags=re.MULTILINE) == wanted


def test_the_code_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    exec(code[1], {})
    assert capsys.readouterr().out == "1.0\n"


def test_the_refusal_is_quoted() -> None:
    assert REFUSAL in " ".join(PAGE.split())
