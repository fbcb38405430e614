"""The local engine: in-process decoding whose threads share one KV cache, with torch and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL

if TYPE_CHECKING:
    from flowdecode_backends.local.backend import Local

__all__ = ["open_local"]


def open_local(url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> Local:
    """The backend of `local:DIR`, or of `local:DIR?dtype=bfloat16&device=cpu&threads=2&memory=2GiB`.

    `local:@NAME` is a bundled model, `local:` the demo model. Raises ConfigurationError, also where torch
    or transformers is not installed.
    """
    try:
        from flowdecode_backends.local.backend import read_url
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Expected torch and transformers, {error.name} is not installed. "
            "Install them: pip install 'flowdecode[local]'."
        ) from error
    return read_url(url)
