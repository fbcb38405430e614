"""The live view: rows, region, the view of a run, and all of it in a real pseudo-terminal."""

from __future__ import annotations

import codecs
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from flowdecode.cli.region import Region
from flowdecode.cli.rows import cut, fit, visible
from flowdecode.cli.view import View
from flowdecode.events import (
    AnswerDelta,
    Event,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodePlanned,
    NodeReady,
    NodeStarted,
    PlanDelta,
    RunFinished,
)
from flowdecode_backends.scripted import Fault, Reply
from tests.cli.terminal import Terminal
from tests.examples.engine import DEMO

Script = Callable[..., str]

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)
answers = st.lists(
    words
    | st.sampled_from(
        ["\n", "\n\n", "tea ", "é\u0301", "茶茶茶", "👩‍👩‍👧‍👦", "\x1b[2J", "\r\n", "x" * 90, " " * 50]
    ),
    max_size=12,
)


@given(words, words, st.integers(2, 30))
def test_a_line_s_rows_are_the_line_and_stay_as_more_comes(line: str, more: str, width: int) -> None:
    rows = cut(line, width)
    assert "".join(rows) == line
    assert all(cell_len(row.rstrip()) <= width for row in rows)
    assert cut(line + more, width)[: len(rows) - 1] == rows[:-1]


def test_a_line_is_broken_between_words_and_a_long_word_anywhere() -> None:
    assert cut("Leaves and water.", 10) == ["Leaves and ", "water."]
    assert cut("abcdefgh ij", 3) == ["abc", "def", "gh ", "ij"]


@given(words, st.integers(0, 30), st.booleans())
def test_a_title_takes_exactly_its_columns(title: str, width: int, ascii_only: bool) -> None:
    fitted = fit(title, width, ascii_only=ascii_only)
    assert cell_len(fitted) == width
    assert fitted == visible(fitted)
    assert "\n" not in fitted


def console(width: int = 40, height: int = 10) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=width, height=height, highlight=False), file


@settings(max_examples=30)
@given(answers, st.integers(5, 60), st.integers(1, 20))
def test_no_character_of_an_answer_is_lost(pieces: list[str], width: int, height: int) -> None:
    screen, file = console(width, height)
    terminal = Terminal(width, height)
    view = View()
    view.feed(NodePlanned(0.0, "1", "decode", "Tea\x1b[2J", (), 30))
    with Region(screen) as region:
        for piece in pieces:
            view.feed(AnswerDelta(0.0, piece))
            region.print(*view.take(region.width))
            region.draw(view.draw(region.width, region.height, 1.0))
        region.print(*view.take_all(region.width))
    terminal.write(file.getvalue())
    written = "".join(visible("".join(pieces)).split())
    assert "".join(terminal.text.split()) == "".join(filter(cell_len, written))
    assert terminal.cursor_shown
    assert terminal.wraps


def test_the_region_is_drawn_in_place() -> None:
    screen, file = console(20, 5)
    terminal = Terminal(20, 5)
    with Region(screen) as region:
        for number in range(8):
            region.draw([Text(f"first {number}"), Text("second, and much too wide"), Text("third")])
            terminal.write(file.getvalue())
            file.seek(file.truncate(0))
            assert terminal.lines[:3] == [f"first {number}", "second, and much too", "third"]
            assert (terminal.row, terminal.column) == (0, 0), "the cursor waits in the first row"
        region.print(Text("above"))
        region.draw([Text("below")])
        terminal.write(file.getvalue())
        assert terminal.text == "above\nbelow"


def test_what_goes_to_standard_error_is_printed_above(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, file = console()
    monkeypatch.setattr(sys, "stderr", Tty())
    before = sys.stderr
    with Region(screen) as region:
        region.draw([Text("a graph")])
        sys.stderr.write("careful\n")
        sys.stderr.write("no line\x1b[2J")
        region.draw([Text("a graph")])
    assert sys.stderr is before
    terminal = Terminal(40, 10)
    terminal.write(file.getvalue())
    assert terminal.text == "careful\nno line␛[2J"


def fed(*events: Event, ascii_only: bool = False) -> View:
    view = View(ascii_only=ascii_only)
    for event in events:
        view.feed(event)
    return view


UNDER_WAY: tuple[Event, ...] = (
    NodePlanned(0.0, "plan", "plan", "Plan", (), None),
    NodeReady(0.0, "plan"),
    NodeStarted(0.0, "plan"),
    *[PlanDelta(0.5, "x")] * 12,
    NodePlanned(0.5, "1", "decode", "Origin", (), 10),
    NodeReady(0.5, "1"),
    NodeStarted(0.5, "1"),
    *[NodeDelta(0.6, "1", "x")] * 5,
    NodePlanned(0.6, "2", "decode", "Taste", (), 10),
    NodeReady(0.6, "2"),
    NodePlanned(0.7, "3", "decode", "Verdict", ("1", "2"), 10),
    AnswerDelta(0.7, "## Origin\nTea comes"),
)


def shown(lines: list[Text]) -> list[str]:
    return [re.sub(r" {2,}", "  ", line.plain) for line in lines]


def test_a_run_under_way() -> None:
    view = fed(*UNDER_WAY)
    assert shown(view.take(79)) == ["## Origin"]
    assert shown(view.draw(79, 23, 0.72)) == [
        "Tea comes",
        "",
        "● Plan  12  planning",
        f"● 1 Origin  {'━' * 14}{'─' * 14}  5  decoding",
        "○ 2 Taste  queued",
        "· 3 Verdict  after 1, 2  waiting",
        "0.7 s, 17 tokens, 1 waiting, 1 queued, 2 decoding",
    ]


def test_a_node_that_is_done_has_a_full_bar_though_it_was_shorter_than_planned() -> None:
    view = fed(*UNDER_WAY, NodeFinished(0.8, "1", "done"))
    assert shown(view.graph(79, 20))[1] == f"✓ 1 Origin  {'━' * 28}  5  done"


def test_a_run_that_has_ended_shows_when_each_node_ran() -> None:
    ends = (
        NodeFinished(1.0, "plan", "done"),
        NodeFinished(2.0, "1", "truncated"),
        NodeFailed(2.0, "2", "failed", "boom"),
        NodeFailed(2.0, "3", "skipped", "boom"),
        RunFinished(2.0, "partial"),
    )
    graph = [line.plain for line in fed(*UNDER_WAY, *ends, ascii_only=True).graph(79, 20)]
    assert [line[0] for line in graph] == ["+", "+", "x", "x"]
    assert [line.split()[-1] for line in graph] == ["done", "short", "failed", "skipped"]
    assert graph[0].endswith(f"  {'=' * 14}{' ' * 14}    12  done")
    assert graph[1].endswith(f"  {' ' * 7}{'=' * 21}     5  cut short")


@pytest.mark.parametrize(("width", "height"), [(79, 23), (119, 39), (39, 9), (20, 4), (9, 2), (1, 1)])
def test_the_view_keeps_to_its_room(width: int, height: int) -> None:
    many = [NodePlanned(0.0, str(number), "decode", "A long title 茶" * 5, (), 9) for number in range(300)]
    view = fed(*UNDER_WAY[-1:], *many, NodeReady(0.0, "200"), NodeStarted(0.0, "200"))
    view.take(width)
    lines = view.draw(width, height, 1.0)
    assert 1 <= len(lines) <= height
    if width > 30:
        assert all(line.cell_len <= width for line in lines)
        assert any(line.plain.startswith("● 200 ") for line in lines), "what decodes comes first"


in_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


class Session:
    """`flowdecode` in a pseudo-terminal of a given size."""

    def __init__(self, width: int, height: int, *args: str, **env: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.terminal = Terminal(width, height)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        modes = termios.tcgetattr(slave)
        modes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowdecode.cli", *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", **env},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        os.close(slave)

    def _piece(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:  # What Linux makes of a terminal whose other end is closed.
            return b""

    def read(self) -> Iterator[str]:
        """The output, piece by piece, until the process has ended."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        while piece := self._piece():
            text = decoder.decode(piece)
            self.terminal.write(text)
            yield text
        os.close(self._master)
        self.process.wait(10)


@in_a_terminal
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10)])
def test_a_terminal_shows_answer_graph_and_figures(width: int, height: int, script: Script) -> None:
    replies = [msgspec.structs.replace(reply, delay=0.0, pace=0.001) for reply in DEMO]
    prompt = "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening."
    session = Session(width, height, "run", prompt, "--backend", script(*replies), "--strategy", "plato")
    pictures = list(session.read())
    assert session.process.returncode == 0
    assert pictures[0].startswith("Opening the engine ...")
    assert any("decoding" in picture for picture in pictures)
    words = session.terminal.text.split()
    parts = [reply.text for reply in replies[2:6]]
    assert " ".join(parts[0].split()) in " ".join(words)
    assert " ".join(parts[-1].split()) in " ".join(words)
    assert words.count("done") == 6
    assert " ".join(words).endswith("strategy plato")
    assert session.terminal.cursor_shown
    assert len([line for line in session.terminal.lines if line.startswith("✓ ")]) == 6


@in_a_terminal
def test_an_interrupt_leaves_the_text_and_the_terminal_as_they_were(script: Script) -> None:
    backend = script(Reply("One two three", fault=Fault(after_tokens=2, error="hang")))
    session = Session(80, 24, "run", "Count.", "--backend", backend, "--strategy", "sequential")
    interrupted = False
    for _ in session.read():
        if not interrupted and "One two" in session.terminal.text and "decoding" in session.terminal.text:
            session.process.send_signal(signal.SIGINT)
            interrupted = True
    assert session.process.returncode == 130
    assert session.terminal.text == "One two"
    assert session.terminal.cursor_shown
    assert session.terminal.wraps


@in_a_terminal
def test_an_error_leaves_the_text_the_graph_and_one_line(script: Script) -> None:
    backend = script(Reply("One two three", fault=Fault(after_tokens=2, error="rejected")))
    session = Session(80, 24, "run", "Count.", "--backend", backend, "--strategy", "sequential")
    assert list(session.read())
    assert session.process.returncode == 1
    text, blank, graph, error, *_ = session.terminal.lines
    assert (text, blank) == ("One two", "")
    assert graph.startswith("✗ answer")
    assert error.startswith("error: The request was refused")
    assert session.terminal.cursor_shown


@in_a_terminal
def test_a_dumb_terminal_gets_plain_text(script: Script) -> None:
    backend = script(Reply("Leaves."))
    session = Session(80, 24, "run", "Tea?", "--backend", backend, "--strategy", "sequential", TERM="dumb")
    assert "\x1b" not in "".join(session.read())
    assert session.terminal.lines[0] == "Leaves."
