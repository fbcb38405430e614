"""OpenAI's chat completions API, as OpenAI and many engines serve it, through the official client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL

if TYPE_CHECKING:
    from flowdecode_backends.openai_http.backend import OpenAIHTTP

__all__ = ["open_openai"]


def open_openai(url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> OpenAIHTTP:
    """The backend of `openai://HOST:PORT/v1?model=NAME`, or of `openai+https://...`.

    Raises ConfigurationError, also where the official client is not installed.
    """
    try:
        from flowdecode_backends.openai_http.backend import read_url
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Expected OpenAI's client, {error.name} is not installed. "
            "Install it: pip install 'flowdecode[openai]'."
        ) from error
    return read_url(url, api_key=api_key, headers=headers)
