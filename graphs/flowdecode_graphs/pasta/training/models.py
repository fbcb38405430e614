"""Models as training takes and leaves them: with the tags in their vocabulary, in the standard form."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import torch
from transformers import AddedToken, AutoConfig, AutoModelForCausalLM, AutoTokenizer

from flowdecode.backend import ModelProfile
from flowdecode.errors import ConfigurationError
from flowdecode_graphs.pasta.language import ASYNC, END, PROMISE, SYNC
from flowdecode_graphs.pasta.layout import Form

__all__ = [
    "ATTRIBUTES",
    "TAGS",
    "DType",
    "Trainable",
    "form_of",
    "load_tokenizer",
    "load_trainable",
    "save_model",
    "tag_ids",
]

TAGS = (PROMISE, ASYNC, END, SYNC)
ATTRIBUTES = (' topic="', '" tokens="', '"/>')
"""What every promise has beside its tag, topic and length."""
COSTLY = 3
"""Tokens of an attribute from which on it becomes a token too: a small vocabulary would spell it."""
NOISE = 0.1
"""By how much of its entries' deviation a new token's embedding differs from the mean of the others."""

DType = Literal["float32", "bfloat16"]

_STRATEGY = "pasta"
_log = logging.getLogger("flowdecode")

# transformers leaves these untyped.
_auto_config: Any = AutoConfig
_auto_model: Any = AutoModelForCausalLM
_auto_tokenizer: Any = AutoTokenizer
_added_token: Any = AddedToken


class Trainable(NamedTuple):
    """A model with what belongs to it."""

    model: Any
    tokenizer: Any
    profile: ModelProfile
    """What its `flowdecode.json` says."""
    stored: DType
    """As what its weights were stored."""

    @property
    def context(self) -> float:
        """The tokens that it may see; inf where its configuration does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or math.inf


def load_trainable(
    source: str | Path, *, add_tags: bool = True, dtype: DType = "float32", seed: int = 0
) -> Trainable:
    """A model's folder, or its name on the hub.

    With `add_tags` PASTA-LANG's tags are in its vocabulary: what it lacks becomes an added token that is not
    special, with the mean of all embeddings and a little noise of its own. Raises ConfigurationError.
    """
    folder = Path(source).expanduser()
    with _loading(source) as (name, options):
        config = _auto_config.from_pretrained(name, **options)
        # On a CPU plain products are a quarter faster than the fused function is under a mask.
        attention = "sdpa" if torch.cuda.is_available() else "eager"
        model = _auto_model.from_pretrained(
            name, dtype=getattr(torch, dtype), attn_implementation=attention, **options
        )
    tokenizer = load_tokenizer(source)
    if add_tags:
        _add_tags(model, tokenizer, seed)
    stored: DType = "float32" if config.dtype in (None, torch.float32) else "bfloat16"
    return Trainable(model, tokenizer, ModelProfile.read(folder), stored)


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a model's folder, or of its name on the hub. Raises ConfigurationError."""
    with _loading(source) as (name, options):
        return _auto_tokenizer.from_pretrained(name, **options)


def save_model(trained: Trainable, folder: Path, *, plain: bool = False, form: Form = "shared") -> None:
    """Write model, tokenizer and `flowdecode.json`, which declares the strategy `pasta` unless it is plain.

    `form` is that of its training. The weights are stored as what they were before.
    """
    model, tokenizer, profile = trained.model, trained.tokenizer, trained.profile
    folder.mkdir(parents=True, exist_ok=True)
    wanted = getattr(torch, trained.stored)
    if model.dtype != wanted:
        model = copy.deepcopy(model).to(wanted)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    others = tuple(name for name in profile.strategies if name != _STRATEGY)
    profile = msgspec.structs.replace(
        profile,
        strategies=others if plain else (_STRATEGY,),
        tags={} if plain else tag_ids(tokenizer),
        shared_kv=plain or form == "shared",
    )
    text = msgspec.json.format(msgspec.json.encode(profile), indent=2)
    (folder / "flowdecode.json").write_bytes(text + b"\n")


def form_of(folder: str | Path) -> Form:
    """The form in which a folder's model was trained."""
    return "shared" if ModelProfile.read(Path(folder)).shared_kv else "causal"


def tag_ids(tokenizer: Any) -> dict[str, int]:
    """The id of every tag that is one token, and of every attribute that was made one."""
    known: dict[str, int] = tokenizer.get_vocab()
    made = [text for text in ATTRIBUTES if text in tokenizer.get_added_vocab()]
    return {text: known[text] for text in (*TAGS, *made) if text in known}


def _add_tags(model: Any, tokenizer: Any, seed: int) -> None:
    missing = [tag for tag in TAGS if tag not in tag_ids(tokenizer)]
    missing += [text for text in ATTRIBUTES if len(_encode(tokenizer, text)) >= COSTLY]
    if not missing:
        return
    tokenizer.add_tokens([_added_token(text, special=False, normalized=False) for text in missing])
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new: list[int] = sorted(tokenizer.convert_tokens_to_ids(missing))
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is None or id(layer.weight) in done:  # the two are one where they are tied
                continue
            done.add(id(layer.weight))
            _initialise(layer.weight, new, generator)
    _log.info("Added %s to the vocabulary of %s.", " ".join(missing), model.name_or_path)


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _initialise(weight: torch.Tensor, new: list[int], generator: torch.Generator) -> None:
    """Rows of `new` tokens, which are the last ones that are in use."""
    known = weight[: new[0]].float()
    noise = torch.randn(len(new), weight.shape[1], generator=generator).to(weight.device)
    weight[new] = (known.mean(0) + NOISE * known.std(0) * noise).to(weight.dtype)


@contextmanager
def _loading(source: str | Path) -> Generator[tuple[str, dict[str, Any]]]:
    """The name and the options for transformers, whose errors become ours."""
    folder = Path(source).expanduser()
    local = folder.is_dir()
    try:
        yield (str(folder), {"local_files_only": True}) if local else (str(source), {})
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise ConfigurationError(
            "Expected a folder with a causal language model and its tokenizer, or the name of one on the "
            f"Hugging Face hub, got {str(source)!r}: {reason}"
        ) from error
