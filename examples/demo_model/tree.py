"""Exchanges of a run packed as a tree: what they share is trained once, and each sees its ancestors only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from examples.demo_model.teacher import Exchange

__all__ = ["PROMPT_WEIGHT", "Row", "Tree", "grow_tree", "pack", "sees"]

PROMPT_WEIGHT = 0.03
"""What a prompt's token counts in the loss; it helps to learn the names."""
HEADING_WEIGHT = 8.0
"""How much more a heading's tokens count: they take what is asked from the question, in its order."""
ANSWER_LENGTH = 40
"""An answer's token counts `sqrt(ANSWER_LENGTH / length)`: long answers should not drown short ones."""
NO_PARENT = -1


class Tree(msgspec.Struct):
    """Tokens in depth-first order; each one's ancestors are what it sees."""

    tokens: list[int] = []
    positions: list[int] = []
    """Depths."""
    parents: list[int] = []
    """Indices; the parent's logits predict the token."""
    ends: list[int] = []
    """The index behind the last descendant: token i sees token j if j <= i < ends[j]."""
    weights: list[float] = []


def grow_tree(exchanges: Iterable[Exchange]) -> Tree:
    """Merge exchanges at their common prefixes."""
    tree, path = Tree(), list[int]()
    before: tuple[int, ...] = ()
    for tokens, weights in sorted((told.prompt + told.answer, _weights(told)) for told in exchanges):
        shared = _shared_length(before, tokens)
        for index in path[shared:]:
            tree.ends[index] = len(tree.tokens)
        del path[shared:]
        for index, weight in zip(path, weights, strict=False):
            tree.weights[index] = max(weight, tree.weights[index])
        for depth in range(shared, len(tokens)):
            path.append(len(tree.tokens))
            tree.tokens.append(tokens[depth])
            tree.positions.append(depth)
            tree.parents.append(path[depth - 1] if depth else NO_PARENT)
            tree.weights.append(weights[depth] if depth else 0.0)
            tree.ends.append(0)
        before = tokens
    for index in path:
        tree.ends[index] = len(tree.tokens)
    return tree


class Row(msgspec.Struct):
    """Trees one behind the other, filled up to a fixed length: int64 arrays `[length]`, float32 weights."""

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def pack(trees: Iterable[Tree], length: int, open_rows: int = 8) -> Iterator[Row]:
    """Rows of whole trees: each goes into the first open row that has room. Longer trees are refused."""
    rows: list[list[Tree]] = []
    sizes: list[int] = []
    for tree in trees:
        size = len(tree.tokens)
        if size > length:
            raise ValueError(f"Expected a tree of at most {length} tokens, got {size}.")
        fitting = next((index for index, used in enumerate(sizes) if used + size <= length), None)
        if fitting is None:
            if len(rows) == open_rows:
                fullest = max(range(len(rows)), key=sizes.__getitem__)
                sizes.pop(fullest)
                yield _filled(rows.pop(fullest), length)
            rows.append([tree])
            sizes.append(size)
        else:
            rows[fitting].append(tree)
            sizes[fitting] += size


def sees(ends: torch.Tensor) -> torch.Tensor:
    """Which tokens each token sees, `[rows, length, length]`, of the rows' `ends`, `[rows, length]`."""
    at = torch.arange(ends.shape[1], device=ends.device)
    return (at[None, None, :] <= at[None, :, None]) & (at[None, :, None] < ends[:, None, :])


def _filled(trees: Sequence[Tree], length: int) -> Row:
    """Filling tokens see themselves and count nothing."""
    row = Row(
        tokens=np.zeros(length, np.int64),
        positions=np.zeros(length, np.int64),
        parents=np.arange(length),
        ends=np.arange(1, length + 1),
        weights=np.zeros(length, np.float32),
    )
    start = 0
    for tree in trees:
        here = slice(start, start + len(tree.tokens))
        row.tokens[here] = tree.tokens
        row.positions[here] = tree.positions
        row.parents[here] = np.maximum(tree.parents, 0) + start
        row.ends[here] = np.array(tree.ends) + start
        row.weights[here] = tree.weights
        start = here.stop
    return row


def _weights(told: Exchange) -> list[float]:
    """What each token of prompt and answer counts."""
    plain = sqrt(ANSWER_LENGTH / len(told.answer)) if told.answer else 0.0
    answer = [plain * (HEADING_WEIGHT if at in told.headings else 1.0) for at in range(len(told.answer))]
    return [PROMPT_WEIGHT] * len(told.prompt) + answer


def _shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
