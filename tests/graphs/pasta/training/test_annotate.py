"""A model annotates answers: what it may change, what it is told, and what goes on behind a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowdecode
from flowdecode.backend import Request
from flowdecode.errors import BackendUnavailable, ConfigurationError
from flowdecode.flow import Flow
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_graphs.pasta.document import Chunk, Document, Sync
from flowdecode_graphs.pasta.language import LONGEST_TAG
from flowdecode_graphs.pasta.training.annotate import (
    PROMPT,
    Annotator,
    Dropped,
    Unusable,
    dropped_path,
    read_annotated,
)
from flowdecode_graphs.pasta.training.rows import Example, read_examples

TEA, COFFEE = '<promise topic="tea" tokens="10"/>', '<promise topic="coffee" tokens="10"/>'
PLAIN = "Tea:\n\nTea is mild, and it is warm.\n\nCoffee:\n\nCoffee is \N{HOT BEVERAGE} strong.\n\nSo tea."
GOOD = (
    f"Tea:\n\n{TEA}<async>Tea is mild, and it is warm.</async>\n\nCoffee:\n\n"
    f"{COFFEE}<async>Coffee is \N{HOT BEVERAGE} strong.</async>\n\n<sync/>So tea."
)


def words(text: str) -> int:
    return len(text.split())


class Model:
    """A scripted engine, as `connect=`, that says these things in turn to each prompt."""

    def __init__(self, **replies: Sequence[str | Reply]) -> None:
        self.asked: list[str] = []
        """What the user said last, of every request."""
        self.opened = 0
        self._replies = {prompt: list(texts) for prompt, texts in replies.items()}

    def __call__(self, url: str | None) -> Flow:
        self.opened += 1
        return flowdecode.connect(Scripted(self._reply))

    def _reply(self, request: Request) -> Reply:
        messages = request.context.messages()
        self.asked.append(messages[-1]["content"])
        (name,) = [name for name in self._replies if f"Question:\n{name}\n" in messages[0]["content"]]
        reply = self._replies[name].pop(0)
        return Reply(reply) if isinstance(reply, str) else reply


def annotate(
    out: Path, model: Model, *examples: Example, attempts: int = 3, concurrency: int = 1
) -> Annotator:
    annotator = Annotator(
        examples, out, None, words, attempts=attempts, concurrency=concurrency, connect=model
    )
    asyncio.run(annotator.run())
    return annotator


def test_lengths_are_counted_anew(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    told = GOOD.replace('"tea" tokens="10"', '"tea" tokens="999"').replace(
        '"coffee" tokens="10"', '"coffee" tokens="7"'
    )
    annotator = annotate(out, Model(drinks=[told]), Example("drinks", PLAIN, "food", "Be brief."))
    assert (annotator.annotated, annotator.dropped) == (1, {})
    (row,) = read_examples(out)
    assert row == Example("drinks", GOOD, "food", "Be brief.")


def test_an_answer_without_independent_parts_stays_as_it_is(tmp_path: Path) -> None:
    annotate(tmp_path / "out.jsonl", Model(drinks=[PLAIN]), Example("drinks", PLAIN))
    assert read_examples(tmp_path / "out.jsonl") == [Example("drinks", PLAIN)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            GOOD.replace("mild", "strong"),
            "which has 'Tea:Teaismild,anditiswarm.Cof' (without spaces) where you",
        ),
        (GOOD.replace("So tea.", ""), "strong.Sotea.' (without spaces)"),
        (GOOD.replace("</async>", "", 1), "chunks do not nest"),
        (GOOD.replace(TEA, ""), "Expected a promise before <async>, got content without one"),
        (GOOD.replace("<sync/>", "<sync/><sync/>"), "nothing is outstanding"),
        (GOOD.replace(' tokens="10"', "", 1), 'Expected tokens="...", got none'),
        (f"Here it is:\n{GOOD}", "where you wrote 'Hereitis:"),
    ],
)
def test_the_model_is_told_what_is_wrong(tmp_path: Path, wrong: str, told: str) -> None:
    out = tmp_path / "out.jsonl"
    model = Model(drinks=[wrong, GOOD])
    annotator = annotate(out, model, Example("drinks", PLAIN))
    assert annotator.annotated == 1
    assert read_examples(out) == [Example("drinks", GOOD)]
    assert len(model.asked) == 2
    assert told in model.asked[1]


def test_what_stays_wrong_is_dropped_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    model = Model(one=["Tea"] * 3, two=["<sync/>"] * 3, three=[GOOD])
    asked = [Example(prompt, PLAIN) for prompt in ("one", "two", "three")]
    annotator = annotate(out, model, *asked)
    assert annotator.dropped == {"text changed": 1, "ill-formed": 1}
    assert annotator.annotated == 1
    assert len(model.asked) == 7
    dropped = [
        msgspec.json.decode(line, type=Dropped) for line in dropped_path(out).read_bytes().splitlines()
    ]
    assert [(each.prompt, each.answer, each.kind) for each in dropped] == [
        ("one", PLAIN, "text changed"), ("two", PLAIN, "ill-formed"),
    ]  # fmt: skip
    again = annotate(out, model, *asked)
    assert (again.pending, again.dropped, again.annotated) == ([], annotator.dropped, 1)
    assert len(model.asked) == 7, "neither is asked again"
    assert model.opened == 1


def test_a_tag_that_its_length_makes_too_long_is_ill_formed(tmp_path: Path) -> None:
    answer = "tea " * 100 + "tea"
    topic = "x" * (LONGEST_TAG - len('<promise topic="" tokens="10"/'))
    written = f'<promise topic="{topic}" tokens="10"/><async>{answer}</async>'
    annotator = annotate(tmp_path / "out.jsonl", Model(drinks=[written] * 3), Example("drinks", answer))
    assert (annotator.annotated, annotator.dropped) == (0, {"ill-formed": 1})


def test_answers_that_were_dropped_are_read_with_care(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    dropped_path(out).write_text("{}\n")
    with pytest.raises(ConfigurationError, match=r"could not be annotated, got others: .*dropped\.jsonl"):
        annotate(out, Model(), Example("drinks", PLAIN))


def test_some_answers_need_no_model(tmp_path: Path) -> None:
    model = Model()
    annotator = annotate(
        tmp_path / "out.jsonl", model, Example("tags", f"One writes {TEA} for that."), Example("empty", " \n")
    )
    assert annotator.dropped == {"has a tag": 1, "empty": 1}
    assert model.asked == []


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    asked = [Example(prompt, PLAIN) for prompt in ("one", "two", "three", "one")]
    gone = Reply("", fault=Fault(error="unavailable"))
    model = Model(one=[GOOD], two=[gone] * 30, three=[GOOD])
    with pytest.raises(BackendUnavailable):
        annotate(out, model, *asked)
    assert read_examples(out) == [Example("one", GOOD)]
    out.write_bytes(out.read_bytes() + b'{"prompt": "thr')
    annotator = annotate(out, Model(two=[GOOD], three=[GOOD]), *asked)
    assert [row.prompt for row in read_examples(out)] == ["one", "two", "three"]
    assert (annotator.annotated, len(annotator.pending)) == (3, 2)


def test_a_request_that_the_engine_refuses_is_dropped(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    model = Model(one=[Reply("", fault=Fault(error="rejected"))], two=[GOOD])
    annotator = annotate(out, model, Example("one", PLAIN), Example("two", PLAIN))
    assert annotator.dropped == {"refused by the engine": 1}
    assert annotator.annotated == 1
    again = annotate(out, Model(one=[GOOD]), Example("one", PLAIN), Example("two", PLAIN))
    assert (again.annotated, again.dropped) == (2, {}), "what was the engine's fault is tried again"


def test_several_are_asked_at_once(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(9)]
    most = 0

    def reply(request: Request) -> Reply:
        nonlocal most
        most = max(most, backend.running + 1)
        return Reply(GOOD, pace=0.0)

    backend = Scripted(reply)
    annotator = Annotator(
        [Example(name, PLAIN) for name in names],
        tmp_path / "out.jsonl",
        None,
        words,
        concurrency=3,
        connect=lambda url: flowdecode.connect(backend),
    )
    asyncio.run(annotator.run())
    assert most == 3
    assert sorted(row.prompt for row in read_examples(tmp_path / "out.jsonl")) == names


def test_the_worked_examples_keep_the_rules() -> None:
    examples = PROMPT.split("\nQuestion:\n")[1:-1]
    assert len(examples) == 3
    found: list[Document] = []
    for example in examples:
        _, _, rest = example.partition("\n\nAnswer:\n")
        answer, _, annotated = rest.partition("\n\nAnnotated answer:\n")
        found.append(read_annotated(annotated, answer.strip()))
        assert found[-1].text == answer.strip() == Document.parse(annotated.strip()).text
    assert [sum(isinstance(part, Chunk) for part in document.parts) for document in found] == [2, 3, 0]
    assert sum(isinstance(part, Sync) for part in found[0].parts) == 1


pieces = st.lists(
    st.sampled_from(["tea", "a b", " ", "\n\n", "\u2003", "\N{HOT BEVERAGE}", "x\ny"]), max_size=3
)


@given(st.lists(st.tuples(st.sampled_from("tcs"), pieces), max_size=6))
def test_whitespace_is_the_answer_s_own(told: list[tuple[str, list[str]]]) -> None:
    """A model that writes other whitespace than the answer has: the answer's is restored."""
    written = answer = ""
    outstanding = False
    for kind, words_ in told:
        text = "".join(words_)
        if kind == "c":
            written += f"\n{TEA}<async>{text.strip()}</async>\n"
            outstanding = True
        elif kind == "t":
            written += f" {text} "
        if kind == "s":
            written += "<sync/>" if outstanding else ""
            outstanding = False
        else:
            answer += text
    document = read_annotated(written, answer)
    assert document.text == answer
    assert Document.parse(str(document), exact=True) == document
    assert "".join(str(document).split()) == "".join(written.split())


def test_a_changed_text_is_refused() -> None:
    with pytest.raises(Unusable) as caught:
        read_annotated("Tea is mild", "Tea is mild.")
    assert caught.value.kind == "text changed"
