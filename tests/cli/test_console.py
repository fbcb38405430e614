"""The command line in a process of its own: streams, signals, encodings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowdecode.result import Result
from flowdecode_backends.scripted import Fault, Reply

Script = Callable[..., str]
Console = Callable[..., "subprocess.CompletedProcess[bytes]"]
TEA = ("run", "What is tea?", "--strategy", "sequential", "--backend")
SLOW = Reply("One two three", fault=Fault(after_tokens=1, error="hang"))


def start(*args: str) -> subprocess.Popen[bytes]:
    """Start `flowdecode`, with the signals as a shell leaves them to a command in the foreground."""
    return subprocess.Popen(
        [sys.executable, "-m", "flowdecode.cli", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=None
        if sys.platform == "win32"
        else lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_installed_script_runs(script: Script) -> None:
    flowdecode = Path(sys.executable).with_name("flowdecode")
    command = [str(flowdecode), *TEA, script(Reply("Leaves."))]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout == "Leaves.\n"
    assert "strategy sequential" in finished.stderr


def test_error_has_its_exit_code(console: Console) -> None:
    finished = console(*TEA, "tea")
    assert finished.returncode == 2
    assert finished.stdout == b""
    assert finished.stderr.startswith(b"error: Expected a backend URL")


def test_backend_comes_from_the_environment(console: Console, script: Script) -> None:
    finished = console(*TEA[:-1], FLOWDECODE_BACKEND=script(Reply("Leaves.")))
    assert finished.stdout == b"Leaves.\n"


@pytest.mark.parametrize(("encoding", "text"), [("utf-8", "Té ☕"), ("ascii", "T\\xe9 \\u2615")])
def test_text_fits_every_encoding(console: Console, script: Script, encoding: str, text: str) -> None:
    finished = console(*TEA, script(Reply("Té ☕")), PYTHONIOENCODING=encoding)
    assert finished.returncode == 0
    assert finished.stdout.decode() == f"{text}\n"


def test_json_is_json_in_every_encoding(console: Console, script: Script) -> None:
    finished = console(*TEA, script(Reply("Té 🫖")), "--json", PYTHONIOENCODING="ascii")
    assert Result.from_json(finished.stdout).text == "Té 🫖"


@pytest.mark.parametrize("args", [["run", "--help"], ["plugins"]])
def test_output_is_plain_where_there_is_no_terminal(console: Console, args: list[str]) -> None:
    finished = console(*args)
    assert b"\x1b" not in finished.stdout + finished.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single process")
def test_interrupt_ends_the_run_quietly(script: Script) -> None:
    with start(*TEA, script(SLOW)) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"One"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"\n", b"")


def test_text_is_printed_as_it_comes_and_a_closed_pipe_is_quiet(script: Script) -> None:
    with start(*TEA, script(Reply("One" + " more" * 1000, pace=0.01))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3) == b"One"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("command", ["plugins", "plugins --json"])
def test_pipe_that_is_closed_from_the_start_is_quiet(command: str) -> None:
    line = f"{sys.executable} -m flowdecode.cli {command} | true"
    finished = subprocess.run(line, shell=True, capture_output=True, check=True)
    assert finished.stderr == b""
