"""A trained folder is served as it is: on the real server by re-prompting, and on the local engine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowdecode.cli import main
from flowdecode.result import Result
from flowdecode_graphs.pasta.transcript import transcript
from tests.graphs.pasta.training.models import ANSWERS, PROMPTS, save_taught
from tests.sglang_server.server import Server

PAGE = (Path(__file__).parents[2] / "docs" / "pasta.md").read_text(encoding="utf-8")
SERVING = PAGE.partition("\n## Serving\n")[2]

pytestmark = pytest.mark.timeout(600)  # a server starts, on a machine that may be busy


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that decodes chunks, as both stages leave it in the causal form."""
    torch: Any = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return save_taught(tmp_path_factory.mktemp("trained"), answers=ANSWERS[1:], form="causal")


@pytest.fixture(scope="module")
def served(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(taught, tmp_path_factory.mktemp("logs") / "pasta.log") as server:
        server.wait()
        yield server


def test_the_page_s_server_is_the_one_that_is_tested(taught: Path) -> None:
    """But for its flags, which are those of a machine without a GPU."""
    (launch,) = re.findall(r"^    (python -m sglang.*)$", SERVING, re.MULTILINE)
    assert re.fullmatch(r"python -m sglang\.launch_server --model-path \S+ --port 30000", launch)


def test_the_server_says_what_the_local_engine_says(
    taught: Path, served: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = re.findall(r"^    flowdecode (run .*sglang:.*)$", SERVING, re.MULTILINE)
    args = [arg.replace("127.0.0.1:30000", served.address) for arg in shlex.split(command)]
    args[1] = PROMPTS[0]  # in place of the page's question: what the model has learnt
    args += ["--max-tokens", "100", "--temperature", "0", "--json"]
    assert main(args) == 0
    result = Result.from_json(capsys.readouterr().out)
    assert (result.strategy, result.status, result.fallback_reason) == ("pasta", "done", None)
    said = transcript(result, "causal")
    assert said.well_formed
    assert str(said) in ANSWERS[1:]
    last = result.nodes[-1]
    assert last.usage.cached_tokens >= last.expected_cached_tokens - 2, (
        "the main thread's own KV is found again"
    )
    args[args.index("--backend") + 1] = f"local:{taught}"
    assert main([*args, "--width", "8"]) == 0, "a width has threads be requests, as on the server"
    own = Result.from_json(capsys.readouterr().out)
    assert (own.text, str(transcript(own, "causal"))) == (result.text, str(said))
