"""The recipe itself: a server comes up, answers, and is gone when it is stopped."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.sglang_server.server import Process, Server

pytestmark = pytest.mark.timeout(240)


def _get(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_servers_answer_from_the_model(servers: tuple[Server, Server]) -> None:
    answers = [
        _get(
            server.url + "/generate",
            {
                "text": "What is tea?",
                "sampling_params": {"max_new_tokens": 8, "temperature": 0, "ignore_eos": True},
            },
        )
        for server in servers
    ]
    assert answers[0]["output_ids"] == answers[1]["output_ids"]
    assert answers[0]["meta_info"]["completion_tokens"] == 8


def test_settings_are_those_that_the_tests_count_on(server: Server, lpm_server: Server) -> None:
    keys = ("schedule_policy", "enable_priority_scheduling", "page_size", "incremental_streaming_output")
    facts, other = _get(server.url + "/server_info"), _get(lpm_server.url + "/server_info")
    assert [facts[key] for key in keys] == ["fcfs", True, 1, False]
    assert [other[key] for key in keys] == ["lpm", False, 8, True]


def test_a_process_that_fails_says_why(logs: Path) -> None:
    with (
        Process(["-c", "print('no such model'); raise SystemExit(3)"], logs / "failed.log") as process,
        pytest.raises(RuntimeError, match="no such model"),
    ):
        process.wait()


def test_stopping_ends_the_process(logs: Path) -> None:
    with Process(["-m", "http.server", "--bind"], logs / "files.log") as process:
        pass
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", process.port))
