"""Examples as tensors: tokens, positions, mask and targets, as `layout` has them and the interpreter decodes.

A mask of all tokens of an example is large, so an example keeps its runs: tokens that stand together
and see the same ones before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.layout import Form, Layout, Said, lay_out, tokenized
from flowdecode_graphs.pasta.training.conversation import Conversation
from flowdecode_graphs.pasta.training.rows import Example

__all__ = ["Batch", "Collator", "Encoded", "encode", "encode_layout", "token_log_probs"]

NOTHING = -1
"""The target of a token that predicts nothing."""
_IGNORED = -100
_SEEN = torch.zeros((), dtype=torch.bfloat16)  # exact in every precision, and no reason to raise another's
_HIDDEN = torch.full((), torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16)

Batch = dict[str, torch.Tensor]
"""`input_ids`, `position_ids`, `targets`, `weighted`: `[B, L]`; `attention_mask`: booleans `[B, 1, L, L]`."""


class Encoded(NamedTuple):
    """An example's tokens: its prompt, its answer's threads, and the end of the turn."""

    tokens: npt.NDArray[np.int64]
    """`[L]`, as all that follow."""
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    """The index of the token that each one predicts; -1: none. Tokens of the prompt are not predicted."""
    runs: npt.NDArray[np.int64]
    """Which run each token is in."""
    weighted: npt.NDArray[np.bool_]
    """Whether `--main-weight` applies to each one."""
    sees: npt.NDArray[np.bool_]
    """`[runs, runs]`: whether tokens of a run (row) see those of another, as far as these are before them."""

    @property
    def reach(self) -> int:
        """The context that a model needs for it: one more than the largest position."""
        return int(self.positions.max()) + 1

    @property
    def predicted(self) -> int:
        """How many of its tokens are predicted."""
        return int((self.targets != NOTHING).sum())

    def mask(self) -> npt.NDArray[np.bool_]:
        """Whether a token (row) attends to another (column), `[L, L]`."""
        seen = self.sees[self.runs][:, self.runs]
        return np.tril(seen)


def encode(
    example: Example, tokenizer: Any, form: Form = "shared", plain: bool = False, *, exact: bool = False
) -> Encoded:
    """The tokens of an example for a model with this tokenizer, or with a `Conversation` made of it.

    `plain` leaves the tags out, and with them all threads but one; `exact` allows lengths that are no
    multiples of ten. Raises PlanSyntaxError for an ill-formed answer.
    """
    conversation = tokenizer if isinstance(tokenizer, Conversation) else Conversation(tokenizer)
    document = Document.parse(example.answer, exact=exact)
    if plain:
        document = Document((document.text,) if document.text else ())
    head = conversation.head(example.prompt, example.system)
    parts = [Said(head), *tokenized(document, conversation.encode), Said([conversation.end])]
    return encode_layout(lay_out(parts, form), len(head))


class Collator:
    """Makes a batch of examples, filled up to the longest one's length."""

    def __call__(self, examples: Sequence[Encoded]) -> Batch:
        """Padding tokens see themselves, predict nothing and are seen by none."""
        length = max(len(example.tokens) for example in examples)
        shape = len(examples), length
        tokens, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        targets, weighted = np.full(shape, NOTHING, np.int64), np.zeros(shape, np.bool_)
        masks = np.zeros((len(examples), 1, length, length), np.bool_)
        masks[:, 0] = np.eye(length, dtype=np.bool_)
        for row, example in enumerate(examples):
            size = len(example.tokens)
            tokens[row, :size] = example.tokens
            positions[row, :size] = example.positions
            targets[row, :size] = example.targets
            weighted[row, :size] = example.weighted
            masks[row, 0, :size, :size] = example.mask()
        return {
            "input_ids": torch.as_tensor(tokens),
            "position_ids": torch.as_tensor(positions),
            "attention_mask": torch.as_tensor(masks),
            "targets": torch.as_tensor(targets),
            "weighted": torch.as_tensor(weighted),
        }


def token_log_probs(model: Any, batch: Batch) -> torch.Tensor:
    """By token, the log-probability of the one that it predicts, `[B, L]` in float32; 0 where it is none."""
    mask = batch["attention_mask"]
    if model.config.get_text_config()._attn_implementation == "eager":  # it adds the mask to its scores
        mask = torch.where(mask, _SEEN, _HIDDEN)
    logits: torch.Tensor = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=mask,
        use_cache=False,
    ).logits
    targets = batch["targets"]
    labels = batch["input_ids"].gather(1, targets.clamp(min=0)).masked_fill(targets == NOTHING, _IGNORED)
    losses = cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED, reduction="none"
    )
    return -losses.view_as(targets)


def encode_layout(layout: Layout, prompt: int) -> Encoded:
    """A layout whose first `prompt` tokens are not predicted."""
    firsts = [ranges[-1].start for ranges in layout.seen]
    number = {start: run for run, start in enumerate(sorted(set(firsts)))}
    sees = np.zeros((len(number), len(number)), np.bool_)
    for start, run in number.items():
        sees[run, [number[indices.start] for indices in layout.seen[start]]] = True
    runs = np.array([number[start] for start in firsts])
    targets = [NOTHING if target is None or target < prompt else target for target in layout.targets]
    return Encoded(
        np.array(layout.tokens),
        np.array(layout.positions),
        np.array(targets),
        runs,
        np.array(layout.weighted),
        sees,
    )
