"""Backends, strategies and commands by name; backend URLs."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowdecode
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import (
    BackendURL,
    default_backend_url,
    load_plugin,
    names,
    open_backend,
    open_strategy,
)
from flowdecode.strategy import Strategy
from flowdecode_backends.scripted import Scripted
from flowdecode_graphs.sequential import Sequential


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("local:", BackendURL("local", "", {})),
        ("local:@NAME", BackendURL("local", "@NAME", {})),
        ("local:./models/tiny", BackendURL("local", "./models/tiny", {})),
        ("local:/models/tiny", BackendURL("local", "/models/tiny", {})),
        ("local:Qwen/Qwen3-0.6B", BackendURL("local", "Qwen/Qwen3-0.6B", {})),
        ("sglang://127.0.0.1:30000", BackendURL("sglang", "127.0.0.1:30000", {}, True)),
        ("sglang://[::1]:30000", BackendURL("sglang", "[::1]:30000", {}, True)),
        (
            "openai+https://api.example.com/v1?model=a%2Fb&x=",
            BackendURL("openai+https", "api.example.com/v1", {"model": "a/b", "x": ""}, True),
        ),
        ("simulated:?engines=4", BackendURL("simulated", "", {"engines": "4"})),
        ("scripted:C:\\replies.jsonl", BackendURL("scripted", "C:\\replies.jsonl", {})),
    ],
)
def test_urls_have_parts(url: str, parsed: BackendURL) -> None:
    assert BackendURL.parse(url) == parsed


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("sglang://gpu-1:30000", "gpu-1"),
        ("sglang://gpu-1", "gpu-1"),
        ("sglang://[::1]:30000/x", "::1"),
        ("openai://host:1/v1", "host"),
        ("local:gpu-1:30000", None),
    ],
)
def test_the_host_stands_without_its_port(url: str, host: str | None) -> None:
    assert BackendURL.parse(url).host == host


@pytest.mark.parametrize("url", ["", "sglang", ":x", "://x"])
def test_what_is_no_url_lists_the_schemes(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"simulated:.*Schemes: .*scripted"):
        BackendURL.parse(url)


@pytest.mark.parametrize(
    "url",
    ["sglang://user:secret@host", "openai+https://secret@host/v1", "openai://:secret@host:80/v1?model=x"],
)
def test_a_key_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="api_key") as raised:
        BackendURL.parse(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["sglang://[::1", "sglang://[x]:1", "openai+https://[/v1"])
def test_a_broken_host_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_backend(url, api_key="k")


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_is_a_url_or_a_configuration_error(text: str) -> None:
    try:
        parsed = BackendURL.parse(text)
        assert parsed.keeps_secrets in (True, False)
    except ConfigurationError:
        return
    assert text.startswith(parsed.scheme + ":")


@pytest.mark.parametrize(
    ("url", "keeps"),
    [
        ("sglang://localhost:1", True),
        ("sglang://127.0.0.1", True),
        ("sglang://[::1]:1", True),
        ("openai+https://example.com/v1", True),
        ("local:model", True),
        ("sglang://10.0.0.1", False),
        ("openai://localhost.example.com", False),
        ("openai://example.com/v1?x=localhost", False),
    ],
)
def test_a_key_travels_only_where_nobody_listens(url: str, keeps: bool) -> None:
    assert BackendURL.parse(url).keeps_secrets is keeps


def test_a_key_over_plain_http_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"Use a `\+https` scheme") as raised:
        open_backend("openai://example.com/v1", api_key="secret")
    assert "secret" not in str(raised.value)


def test_an_unknown_scheme_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"Expected one of .*scripted.*, got 'ftp' - at backends"):
        open_backend("ftp://example.com")
    with pytest.raises(ConfigurationError, match="got 'ftp'"):
        flowdecode.connect("ftp://example.com")


def test_an_unknown_strategy_lists_what_there_is() -> None:
    with pytest.raises(
        ConfigurationError, match=r"Expected one of .*sequential.*, got 'best' - at strategies"
    ):
        open_strategy("best")
    with pytest.raises(ConfigurationError, match="got 'best'"):
        flowdecode.stream("Tea?", backend=Scripted([]), strategy="best")


def test_plugins_are_listed_by_name() -> None:
    assert names("backends") == sorted(names("backends"))
    assert {"scripted", "simulated"}.issubset(names("backends"))
    assert {"sequential"}.issubset(names("strategies"))
    assert load_plugin("strategies", "sequential") is Sequential


def test_a_strategy_is_its_name_or_itself() -> None:
    assert open_strategy("sequential") == Sequential()
    strategy = Sequential()
    assert open_strategy(strategy) is strategy


@pytest.mark.parametrize("strategy", [Sequential, None, 7])
def test_what_is_no_strategy_is_refused(strategy: Any) -> None:
    with pytest.raises(ConfigurationError, match="Expected a strategy"):
        open_strategy(strategy)


def test_a_strategy_of_ones_own_needs_no_entry_point() -> None:
    class Mine(Strategy, frozen=True):
        name: ClassVar[str] = "mine"
        depth: int = 2

    assert open_strategy(Mine(depth=3)) == Mine(depth=3)


def test_the_default_backend_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWDECODE_BACKEND", raising=False)
    assert default_backend_url() == "local:"
    monkeypatch.setenv("FLOWDECODE_BACKEND", "")
    assert default_backend_url() == "local:"
    monkeypatch.setenv("FLOWDECODE_BACKEND", "sglang://gpu:1")
    assert default_backend_url() == "sglang://gpu:1"


def test_a_backend_has_its_own_key_and_headers() -> None:
    with pytest.raises(ConfigurationError, match="a Backend has its own"):
        flowdecode.connect(Scripted([]), api_key="k")
    with pytest.raises(ConfigurationError, match="a Backend has its own"):
        flowdecode.connect(Scripted([]), headers={"x": "y"})
