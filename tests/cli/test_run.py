"""`flowdecode run`, in this process."""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from flowdecode.backend import Request
from flowdecode.cli import main
from flowdecode.errors import PlanError
from flowdecode.graph import Graph
from flowdecode.result import Result
from flowdecode.sampling import SamplingParams
from flowdecode.strategy import Strategy
from flowdecode.timeline import to_html
from flowdecode_backends.scripted import Fault, Replies, Reply, Scripted

Capture = pytest.CaptureFixture[str]
Serve = Callable[[Replies], Scripted]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Makes a scripted backend the one that every URL names."""

    def replace(replies: Replies) -> Scripted:
        backend = Scripted(replies)

        def open_backend(*url: str, **options: object) -> Scripted:
            return backend

        monkeypatch.setattr("flowdecode.flow.open_backend", open_backend)
        return backend

    return replace


class Clueless(Strategy, frozen=True):
    """Finds no plan."""

    name: ClassVar[str] = "clueless"

    async def grow(self, graph: Graph) -> None:
        raise PlanError("Expected a plan,\ngot none.")


def run(*args: str) -> int:
    return main(["run", *args, "--strategy", "sequential"])


def test_text_is_printed_then_the_figures(serve: Serve, capsys: Capture) -> None:
    serve([Reply("Leaves and water.")])
    assert run("What is tea?") == 0
    captured = capsys.readouterr()
    assert captured.out == "Leaves and water.\n"
    assert re.fullmatch(
        r"1 node, work 4 tokens, span 4 tokens, parallelism 1\.00, \d\.\d\d s, "
        r"0 of \d+ prompt tokens cached, strategy sequential\n",
        captured.err,
    )


def test_newline_at_the_end_is_not_doubled(serve: Serve, capsys: Capture) -> None:
    serve([Reply("Leaves.\n")])
    assert run("What is tea?") == 0
    assert capsys.readouterr().out == "Leaves.\n"


def test_json_is_the_result_alone(serve: Serve, capsys: Capture) -> None:
    serve([Reply("Leaves ☕ and 🫖")])
    assert run("What is tea?", "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.isascii()
    result = Result.from_json(captured.out)
    assert (result.text, result.strategy, result.status) == ("Leaves ☕ and 🫖", "sequential", "done")


def test_options_reach_the_engine(serve: Serve) -> None:
    backend = serve([Reply("Leaves.")])
    options = (
        "--system=Be brief. --max-tokens=9 --temperature=0.5 --top-p=0.9 --top-k=8 --min-p=0.1 "
        "--repetition-penalty=1.2 --seed=7 --stop=END --stop=STOP "
        "--width=2 --timeout=5 --token-budget=99 --on-error=raise"
    )
    assert run("What is tea?", *re.split(r" (?=--)", options)) == 0
    (request,) = backend.requests
    assert [message["content"] for message in request.context.messages()] == ["Be brief.", "What is tea?"]
    expected = SamplingParams(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=8,
        min_p=0.1,
        repetition_penalty=1.2,
        stop=("END", "STOP"),
    )
    assert request.sampling.seed is not None
    assert msgspec.structs.replace(request.sampling, seed=None) == expected


def test_dash_reads_standard_input(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = serve([Reply("Leaves.")])
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is\ntea?\n"))
    assert run("-") == 0
    assert backend.requests[0].context.block.text == "What is\ntea?"


def test_fallback_is_said(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    serve([Reply("Leaves.")])

    def open_strategy(name: str) -> Strategy:
        return Clueless()

    monkeypatch.setattr("flowdecode.flow.open_strategy", open_strategy)
    assert main(["run", "What is tea?", "--strategy", "clueless"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "Leaves.\n"
    assert captured.err.endswith("strategy sequential, fell back: Expected a plan, got none.\n")


def test_partial_answer_is_said(serve: Serve, capsys: Capture) -> None:
    serve([Reply("Leaves and water.")])
    assert run("What is tea?", "--token-budget", "2") == 0
    captured = capsys.readouterr()
    assert captured.out == "Leaves and\n"
    assert captured.err.endswith("strategy sequential, partial\n")


PLANNED = [
    Reply("1. Origin (4)\n2. Taste (4)\n", match="Write only the plan"),
    Reply("Far east.", match="only part 1,"),
    Reply("Very mild.", match="only part 2,"),
    Reply("Leaves and water, from afar, and mild.", match="What is tea?"),
]


def test_compared_answers_come_one_after_the_other(serve: Serve, capsys: Capture) -> None:
    backend = serve(PLANNED)
    assert main(["run", "What is tea?", "--strategy", "plato", "--compare"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "=== the answer ===\n\n## Origin\n\nFar east.\n\n## Taste\n\nVery mild.\n\n"
        "=== the sequential answer ===\n\nLeaves and water, from afar, and mild.\n"
    )
    first, second, comparison = captured.err.splitlines()
    assert first.endswith("strategy plato")
    assert second.endswith("strategy sequential")
    assert re.fullmatch(
        r"actual speedup \d+\.\d\dx \(\d\.\d\d s / \d\.\d\d s\), "
        r"theoretical \d\.\d\dx \(\d+ tokens / span \d+\), "
        r"\d\.\d\dx the tokens; one after the other, the sequential run last",
        comparison,
    )
    assert "What is tea?" in backend.requests[-1].context.block.text, (
        "the sequential run has the engine alone"
    )


def test_json_of_a_comparison_is_both_results_and_the_figures(serve: Serve, capsys: Capture) -> None:
    serve(PLANNED)
    assert main(["run", "What is tea?", "--strategy", "plato", "--compare", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    printed = msgspec.json.decode(captured.out, type=dict[str, msgspec.Raw])
    parallel, plain = (Result.from_json(bytes(printed[name])) for name in ("run", "sequential"))
    assert (parallel.strategy, plain.strategy) == ("plato", "sequential")
    figures = {name: float(bytes(printed[name])) for name in printed.keys() - {"run", "sequential"}}
    assert figures == pytest.approx(
        {
            "actual_speedup": plain.duration / parallel.duration,
            "theoretical_speedup": plain.work / parallel.span,
            "token_overhead": parallel.usage.completion_tokens / plain.work,
        }
    )


def test_timeline_is_a_page_of_the_result(serve: Serve, capsys: Capture, tmp_path: Path) -> None:
    serve(PLANNED)
    page = tmp_path / "tea.html"
    args = ["run", "What is tea?", "--strategy", "plato", "--json", "--timeline", str(page)]
    assert main(args) == 0
    assert page.read_text(encoding="utf-8") == to_html(Result.from_json(capsys.readouterr().out))


def test_timeline_of_a_run_that_failed_shows_what_it_reached(
    serve: Serve, capsys: Capture, tmp_path: Path
) -> None:
    serve([Reply("One two three", fault=Fault(after_tokens=2, error="rejected"))])
    page = tmp_path / "count.html"
    assert run("Count.", "--timeline", str(page)) == 1
    assert_one_line(capsys, "The request was refused", out="One two\n")
    assert "<b>Status: </b>failed" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("place", [".", "nowhere/tea.html", "x" * 300])
def test_timeline_that_can_t_be_written_is_said_before_the_run(
    place: str, serve: Serve, capsys: Capture, tmp_path: Path
) -> None:
    backend = serve([Reply("Leaves.")])
    assert run("Tea?", "--timeline", str(tmp_path / place)) == 2
    assert_one_line(capsys, "Expected a file that can be written")
    assert backend.requests == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([""], "got an empty text - at `prompt`"),
        (["\udcff"], "Expected a prompt in UTF-8"),
        (["Tea?", "--strategy", "psychic"], "sequential, skeleton, got 'psychic' - at strategies"),
        (["Tea?", "--backend", "gopher://tea"], "simulated, got 'gopher' - at backends"),
        (["Tea?", "--backend", "tea"], "Expected a backend URL such as"),
        (["Tea?", "--backend", "scripted:nowhere.jsonl"], "Expected a file of replies"),
        (["Tea?", "--width", "0"], "at `width`"),
        (["Tea?", "--timeout", "nan"], "at `timeout`"),
        (["Tea?", "--top-p", "2"], "at `top_p`"),
        (["Tea?", "--stop", ""], "at `stop`"),
    ],
)
def test_what_cannot_work_is_one_line(
    args: list[str], message: str, script: Callable[..., str], capsys: Capture
) -> None:
    defaults = ["--backend", script(Reply("Leaves.")), "--strategy", "sequential"]
    assert main(["run", *defaults, *args]) == 2
    assert_one_line(capsys, message)


def test_bad_line_of_a_script_is_named(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text('{"text": "Leaves."}\n{"text": 1}\n')
    assert run("Tea?", "--backend", f"scripted:{path}") == 2
    assert_one_line(capsys, "replies.jsonl:2: Expected `str`, got `int` - at `$.text`")


def test_standard_input_that_is_no_text(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    assert run("-") == 2
    assert_one_line(capsys, "Expected a prompt in UTF-8")


def test_engine_that_refuses(serve: Serve, capsys: Capture) -> None:
    serve([Reply("", fault=Fault(error="rejected"))])
    assert run("Tea?") == 1
    assert_one_line(capsys, "The request was refused")


def test_what_came_before_the_engine_died_stays(serve: Serve, capsys: Capture) -> None:
    serve([Reply("One two three", fault=Fault(after_tokens=2, error="rejected"))])
    assert run("Count.") == 1
    assert_one_line(capsys, "The request was refused, after 2 tokens", out="One two\n")


def test_json_of_a_run_that_failed_is_what_it_reached(serve: Serve, capsys: Capture) -> None:
    serve([Reply("One two three", fault=Fault(after_tokens=2, error="rejected"))])
    assert run("Count.", "--json") == 1
    captured = capsys.readouterr()
    result = Result.from_json(captured.out)
    assert (result.text, result.status) == ("One two", "failed")
    assert captured.err.startswith("error: ")


def test_run_that_takes_too_long(serve: Serve, capsys: Capture) -> None:
    backend = serve([Reply("One two", fault=Fault(after_tokens=1, error="hang"))])
    assert run("Count.", "--timeout", "0.05") == 1
    assert_one_line(capsys, "within its timeout of 0.05 s", out="One\n")
    assert backend.aborted == [backend.requests[0].id]


def test_interrupt_aborts_the_request(serve: Serve, capsys: Capture) -> None:
    def interrupt(request: Request) -> Reply:
        signal.raise_signal(signal.SIGINT)
        return Reply("Never.", delay=60)

    backend = serve(interrupt)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run("Count.") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "")
    assert backend.aborted == [request.id for request in backend.requests]
    assert len(backend.requests) == 1


def assert_one_line(capsys: Capture, message: str, out: str = "") -> None:
    """The text of the answer, and one line that says what went wrong."""
    captured = capsys.readouterr()
    assert captured.out == out
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
