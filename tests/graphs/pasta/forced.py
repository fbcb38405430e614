"""A tiny random model with PASTA-LANG's tags, whose draws are forced to say a given annotated answer."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.language import ASYNC, END, PROMISE, SYNC
from flowdecode_graphs.pasta.layout import Form, Promised, Said, Waited, lay_out, tokenized
from tests.backends.local.models import SIZE
from tests.backends.local.tokenizers import make_tokenizer

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

__all__ = ["Forced", "Key", "save_model"]

Key = tuple[str, int, int]
"""A token of the answer: `main`, 0 and its place, or `chunk`, the promise's number and its place."""


def save_model(folder: Path) -> Any:
    """Write a random model whose tokenizer has the tags, as tokens that are not special; returns it."""
    tokenizer = copy.deepcopy(make_tokenizer())
    tags = (PROMISE, ASYNC, END, SYNC)
    tokenizer.add_tokens([transformers.AddedToken(tag, special=False, normalized=False) for tag in tags])
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**SIZE, "vocab_size": len(tokenizer)})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ids = {tag: tokenizer.convert_tokens_to_ids(tag) for tag in tags}
    (folder / "flowdecode.json").write_text(json.dumps({"strategies": ["pasta"], "tags": ids}))
    return model


class Forced:
    """What is drawn in place of the model's own tokens; keeps the logits that it would have drawn from."""

    def __init__(self, engine: Any, prompt: Sequence[int], answer: str, form: Form) -> None:
        """`prompt` is what the answer goes on behind, `form` the way in which its threads are decoded."""
        self.form = form
        tokens = engine.model.tokens
        self.tags: dict[str, int] = engine.model.profile.tags
        (self.end,) = tokens.stop_ids()
        self.prompt = list(prompt)
        self.parts: list[Said | Promised | Waited] = [
            Said(self.prompt),
            *tokenized(Document.parse(answer), tokens.encode),
            Said([self.end]),
        ]
        self.main = [token for part in self.parts[1:] for token in _own(part)]
        self.chunks = [part.chunk for part in self.parts if isinstance(part, Promised)]
        self.logits: dict[Key, Any] = {}
        self.repeats = False
        """Whether several answers are decoded."""
        self._engine = engine

    @property
    def first_fork(self) -> int:
        """The main thread's tokens up to the end of its first promise."""
        kinds = [isinstance(part, Promised) for part in self.parts]
        return sum(len(_own(part)) for part in self.parts[1 : kinds.index(True) + 1])

    def say(self, main: str, chunks: Sequence[str]) -> None:
        """Have the threads say other texts, which need not be in the language; each ends with its turn."""
        encode = self._engine.model.tokens.encode
        self.main = [*encode(main), self.end]
        self.chunks = [[*encode(f"{ASYNC}{chunk}"), self.end] for chunk in chunks]

    def draw(self, logits: Any, samplers: Sequence[Any]) -> list[int]:
        """The tokens of a step, in the place of `sampler.draw`."""
        strands = {id(strand.sampler): strand for job in self._engine._batch for strand in job.strands}
        drawn: list[int] = []
        for row, sampler in zip(logits, samplers, strict=True):
            strand = strands[id(sampler)]
            key, token = self._next([*strand.before, *strand.tokens][len(self.prompt) :])
            if key is not None and not self.repeats:
                assert key not in self.logits, f"{key} was decoded twice"
                self.logits[key] = row.clone()
            drawn.append(token)
        return drawn

    def expected(self, model: Any, form: Form) -> Iterator[tuple[Key, Any]]:
        """The logits of every token of the answer, by one forward pass of the model's own attention."""
        layout = lay_out(self.parts, form)
        lowest = torch.finfo(torch.float32).min
        mask = torch.where(torch.tensor(layout.mask()), 0.0, lowest)[None, None]
        model.set_attn_implementation("eager")
        with torch.inference_mode():
            logits = model(
                input_ids=torch.tensor([layout.tokens]),
                position_ids=torch.tensor([layout.positions]),
                attention_mask=mask,
                use_cache=False,
            ).logits[0]
        predictors = {target: index for index, target in enumerate(layout.targets) if target is not None}
        for index, key in self.keys(form):
            if key[0] == "main" or key[2] > 0:
                yield key, logits[predictors[index]]

    def keys(self, form: Form) -> Iterable[tuple[int, Key]]:
        """Every token's place in the layout."""
        index, place, number = len(self.prompt), 0, 0
        outstanding = 0
        for part in self.parts[1:]:
            for _ in _own(part):
                yield index, ("main", 0, place)
                index, place = index + 1, place + 1
            if isinstance(part, Promised):
                for within in range(len(part.chunk)):
                    yield index + within, ("chunk", number, within)
                index, number, outstanding = (
                    index + len(part.chunk),
                    number + 1,
                    outstanding + len(part.chunk),
                )
            elif isinstance(part, Waited):
                index += outstanding if form == "causal" else 0
                outstanding = 0

    def _next(self, said: list[int]) -> tuple[Key | None, int]:
        """What is said next, and where that is; no place where an engine goes on behind its abort."""
        main: list[int] = []
        position, promises, joined = 0, 0, 0
        while position < len(said):
            token = said[position]
            position += 1
            if token != self.tags[ASYNC]:
                main.append(token)
                promises += token == self.tags[PROMISE]
                waits = token == self.tags[SYNC] and said[position : position + 1] != [self.tags[ASYNC]]
                if waits and self.form == "causal" and promises > joined:
                    return None, self.end
                if token == self.tags[SYNC]:
                    joined = promises
                continue
            if self.tags[END] not in said[position:]:
                number, place = promises - 1, len(said) - position + 1
                return ("chunk", number, place), self.chunks[number][place]
            position = said.index(self.tags[END], position) + 1
        if main != self.main[: len(main)] or len(main) == len(self.main):
            return None, self.end
        return ("main", 0, len(main)), self.main[len(main)]


def _own(part: Said | Promised | Waited) -> Sequence[int]:
    """The main thread's tokens of a part."""
    return part.promise if isinstance(part, Promised) else part.tokens
