"""The served model's tokenizer, vocabulary and profile, where this machine can read them."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from flowdecode.backend import ModelProfile
from flowdecode.errors import ConfigurationError
from flowdecode_backends.tokens import ChatTokens

__all__ = ["ServedModel", "read_model", "served_model"]

_log = logging.getLogger("flowdecode")


class ServedModel(msgspec.Struct, frozen=True):
    """What is known of a model beside what its server tells."""

    tokenizer: Any = None
    """None: prompts are tokenised by the server."""
    vocabulary: int | None = None
    """Ids that the model has an embedding for."""
    context_length: int | None = None
    profile: ModelProfile = ModelProfile()

    def chat_tokens(self, name: str) -> ChatTokens | None:
        """A renderer of contexts, one for each event loop. Raises ConfigurationError without a template."""
        return None if self.tokenizer is None else ChatTokens(self.tokenizer, name)


def served_model(server_path: str | None, asked: str | None) -> ServedModel:
    """The model of the path in the URL, else of the one that the server names.

    An empty path is text mode. Raises ConfigurationError where the URL's path can't be read; where
    the server's can't, a warning says what that costs.
    """
    if asked is not None:
        return read_model(asked) if asked else ServedModel()
    if not server_path:
        _log.warning("The SGLang server names no tokenizer, so that prompts go through its own. %s", _REMEDY)
        return ServedModel()
    try:
        return read_model(server_path)
    except ConfigurationError as error:
        _log.warning("Prompts go through the SGLang server's own tokenizer: %s %s", error, _REMEDY)
        return ServedModel()


@lru_cache(maxsize=16)
def read_model(path: str) -> ServedModel:
    """A tokenizer of a folder, or of the Hugging Face hub; read once in a process.

    Raises ConfigurationError.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir() and (folder.is_absolute() or path.startswith((".", "~"))):
        raise ConfigurationError(f"Expected a folder with a tokenizer, {path!r} is none on this machine.")
    source = str(folder) if folder.is_dir() else path
    options: dict[str, Any] = {"local_files_only": True} if folder.is_dir() else {}
    try:
        transformers: Any = import_module("transformers")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Expected transformers, {error.name} is not installed. "
            "Install it: pip install 'flowdecode[sglang]'."
        ) from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"Expected a folder with a tokenizer, or a model's name on the Hugging Face hub, "
            f"got {path!r}: {error}"
        ) from error
    try:
        text = transformers.AutoConfig.from_pretrained(source, **options).get_text_config()
    except (OSError, ValueError, KeyError):  # a tokenizer alone is enough
        text = None
    return ServedModel(
        tokenizer=tokenizer,
        vocabulary=int(getattr(text, "vocab_size", 0)) or len(tokenizer),
        context_length=getattr(text, "max_position_embeddings", None),
        profile=ModelProfile.read(folder),
    )


_REMEDY = "Follow-up requests may then miss the prefix cache; name the tokenizer: sglang://HOST:PORT?tokenizer=PATH."
