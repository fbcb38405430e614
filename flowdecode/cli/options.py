"""What several commands take: the prompt, the engine, the form of the output."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flowdecode.errors import ConfigurationError

__all__ = ["AsJson", "BackendUrl", "PromptText", "StrategyName", "SystemText", "read_prompt"]

PromptText = Annotated[
    str, typer.Argument(metavar="PROMPT", help="The question or task; '-' reads standard input.")
]
BackendUrl = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="URL",
        help="The engine, such as simulated: (see `flowdecode plugins`); "
        "by default what FLOWDECODE_BACKEND says.",
    ),
]
StrategyName = Annotated[
    str, typer.Option(metavar="NAME", help="How to decode; `flowdecode plugins` lists all strategies.")
]
SystemText = Annotated[str | None, typer.Option(metavar="TEXT", help="The system message.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]


def read_prompt(prompt: str) -> str:
    """The prompt, or standard input where it is `-`. Raises ConfigurationError for what is no text."""
    try:
        text = sys.stdin.read().rstrip("\n") if prompt == "-" else prompt
        _ = text.encode()  # Bytes that could not be decoded are surrogates in it, which no engine takes.
    except UnicodeError:
        raise ConfigurationError("Expected a prompt in UTF-8, got other bytes - at PROMPT.") from None
    return text
