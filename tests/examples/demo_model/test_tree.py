"""What training sees of a run is what the engine sees of each of its requests."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from examples.demo_model.teacher import Exchange, exchanges
from examples.demo_model.tree import Row, Tree, grow_tree, pack, sees
from flowdecode.backend import ModelProfile
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.atlas import questions
from flowdecode_graphs.plato import Plato

_torch: Any = torch  # torch leaves much untyped
ids = st.lists(st.integers(0, 3), min_size=1, max_size=8).map(tuple)


def path(row: Row, index: int) -> list[int]:
    """The tokens from the root to a token."""
    tokens = [int(row.tokens[index])]
    while row.positions[index]:
        index = int(row.parents[index])
        tokens.append(int(row.tokens[index]))
    return tokens[::-1]


@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=6))
def test_every_exchange_is_a_path_and_each_token_sees_just_its_ancestors(pairs: list[Any]) -> None:
    tree = grow_tree(Exchange(*pair) for pair in pairs)
    size = len(tree.tokens)
    row = next(pack([tree] * 2, size, open_rows=1))
    paths = {tuple(path(row, index)) for index in range(size)}
    whole = {prompt + answer for prompt, answer in pairs}
    assert paths == {tokens[: end + 1] for tokens in whole for end in range(len(tokens))}
    assert len(paths) == size, "a common prefix is there once"
    visible = sees(torch.as_tensor(row.ends)[None])[0]
    for index in range(size):
        ancestors = np.flatnonzero(visible[index].numpy())
        assert row.tokens[ancestors].tolist() == path(row, index)


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(9, 14))
def test_trees_are_packed_whole(sizes: list[int], length: int) -> None:
    marked = [_line(mark, size) for mark, size in enumerate(sizes, start=1)]
    rows = list(pack(marked, length, open_rows=2))
    assert all(len(row.tokens) == length for row in rows)
    packed = Counter(int(token) for row in rows for token in row.tokens if token)
    assert all(count == sizes[mark - 1] for mark, count in packed.items())
    assert len(sizes) - len(packed) <= 2 * length, "only the rows that are still open are left out"


def test_a_tree_that_is_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 4 tokens, got 5"):
        next(pack([grow_tree([Exchange((1, 2, 3), (4, 5))])], 4))


@pytest.mark.anyio
async def test_a_whole_run_in_one_row_gives_the_logits_of_its_requests(
    tokens: ChatTokens, profile: ModelProfile
) -> None:
    """Every request alone, causal, against the run as a tree with its mask and positions."""
    _torch.manual_seed(0)
    small = LlamaConfig(vocab_size=2048, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=2, num_key_value_heads=2)  # fmt: skip
    model: Any = LlamaForCausalLM(small)
    model.eval()
    for question in islice(questions("train", seed=2), 6):
        told = await exchanges(tokens, profile, question, Plato())
        tree = grow_tree(told)
        row = next(pack([tree] * 2, len(tree.tokens), open_rows=1))
        with torch.inference_mode():
            inside = model(
                input_ids=torch.as_tensor(row.tokens)[None],
                position_ids=torch.as_tensor(row.positions)[None],
                attention_mask=sees(torch.as_tensor(row.ends)[None])[:, None],
                use_cache=False,
            ).logits[0]
            by_path = {tuple(path(row, index)): inside[index] for index in range(len(tree.tokens))}
            for prompt, answer, _ in told:
                alone = model(torch.tensor([prompt + answer])).logits[0]
                for at in range(len(prompt) - 1, len(prompt + answer)):
                    torch.testing.assert_close(
                        by_path[(prompt + answer)[: at + 1]], alone[at], rtol=1e-4, atol=1e-4
                    )


def _line(mark: int, size: int) -> Tree:
    return Tree([mark] * size, [0] * size, [0] * size, [0] * size, [0.0] * size)
