"""Batches hold what the layout says; that this is what the interpreter decodes is in `test_exactness`."""

from __future__ import annotations

from typing import Any

import pytest

from flowdecode.errors import PlanSyntaxError
from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.language import ASYNC, END
from flowdecode_graphs.pasta.layout import Form, Said, lay_out, tokenized
from flowdecode_graphs.pasta.training.conversation import Conversation
from flowdecode_graphs.pasta.training.rows import Example

torch: Any = pytest.importorskip("torch")
collate: Any = pytest.importorskip("flowdecode_graphs.pasta.training.collate")

from tests.graphs.pasta.forced import save_model  # noqa: E402

TEA, COFFEE = '<promise topic="tea" tokens="10"/>', '<promise topic="coffee" tokens="40"/>'
LONG = Example(
    "What is tea, and what is coffee?",
    f"Two: {TEA}<async>Tea is an infusion.</async> and {COFFEE}<async>Coffee is \N{HOT BEVERAGE}.</async>\n"
    f"<sync/>So tea. {TEA}<async></async><sync/> Yes.",
    system="Be brief.",
)
SHORT = Example("Tea?", f"{TEA}<async>Tea.</async>")
PLAIN = Example("Tea?", "Tea is tea.")
EMPTY = Example("", "")
EXAMPLES = [LONG, SHORT, PLAIN, EMPTY]
FORMS = pytest.mark.parametrize("form", ["shared", "causal"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model and its tokenizer."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("collate")
    model = save_model(folder)
    auto: Any = pytest.importorskip("transformers").AutoTokenizer
    return model, auto.from_pretrained(folder)


@FORMS
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_laid_out_token_by_token(example: Example, form: Form, saved: tuple[Any, Any]) -> None:
    tokenizer = saved[1]
    conversation = Conversation(tokenizer)
    head = conversation.head(example.prompt, example.system)
    parts = tokenized(Document.parse(example.answer), conversation.encode)
    layout = lay_out([Said(head), *parts, Said([conversation.end])], form)
    encoded = collate.encode(example, tokenizer, form)
    assert encoded.tokens.tolist() == layout.tokens
    assert encoded.positions.tolist() == layout.positions
    assert encoded.mask().tolist() == layout.mask()
    assert encoded.weighted.tolist() == layout.weighted
    assert encoded.reach == max(layout.positions) + 1
    for index, target in enumerate(layout.targets):
        prompt = index < len(head) - 1
        assert encoded.targets[index] == (-1 if prompt or target is None else target)


@FORMS
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_answer_and_the_end_of_the_turn_are_predicted_once(
    example: Example, form: Form, saved: tuple[Any, Any]
) -> None:
    tokenizer = saved[1]
    encoded = collate.encode(example, tokenizer, form)
    ids = {tag: tokenizer.convert_tokens_to_ids(tag) for tag in (ASYNC, END)}
    predicted = [int(encoded.tokens[target]) for target in encoded.targets if target >= 0]
    conversation = Conversation(tokenizer)
    assert predicted.count(conversation.end) == 1
    assert ids[ASYNC] not in predicted
    assert predicted.count(ids[END]) == example.answer.count(END)
    assert encoded.predicted == len(predicted) == len(set(encoded.targets.tolist()) - {-1})


def test_plain_examples_have_no_tags(saved: tuple[Any, Any]) -> None:
    tokenizer = saved[1]
    stripped = Example(LONG.prompt, Document.parse(LONG.answer).text, system=LONG.system)
    plain, same = collate.encode(LONG, tokenizer, plain=True), collate.encode(stripped, tokenizer)
    assert plain.tokens.tolist() == same.tokens.tolist()
    assert plain.targets.tolist() == same.targets.tolist()
    assert plain.positions.tolist() == list(range(len(plain.tokens)))
    assert plain.mask().all() == (len(plain.tokens) == 1)
    assert plain.mask().sum() == len(plain.tokens) * (len(plain.tokens) + 1) // 2


def test_an_ill_formed_answer_is_refused(saved: tuple[Any, Any]) -> None:
    with pytest.raises(PlanSyntaxError, match="nothing is outstanding - at line 1, column 4"):
        collate.encode(Example("Tea?", "Tea<sync/>"), saved[1])


@FORMS
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_batch_gives_each_example_what_it_gets_alone(
    form: Form, attention: str, saved: tuple[Any, Any]
) -> None:
    model, tokenizer = saved
    model.set_attn_implementation(attention)
    encoded = [collate.encode(example, tokenizer, form) for example in EXAMPLES]
    batch = collate.Collator()(encoded)
    length = batch["input_ids"].shape[1]
    assert length == max(len(one.tokens) for one in encoded) > min(len(one.tokens) for one in encoded)
    assert batch["attention_mask"].shape == (len(EXAMPLES), 1, length, length)
    with torch.inference_mode():
        together = collate.token_log_probs(model, batch)
        for row, one in enumerate(encoded):
            size = len(one.tokens)
            alone = collate.token_log_probs(model, collate.Collator()([one]))[0]
            assert alone.shape == (size,)
            assert float((together[row, :size] - alone).abs().max()) < 1e-4
            assert not together[row, size:].any()
            assert (alone < 0).tolist() == (one.targets >= 0).tolist()


def test_log_probabilities_are_those_of_the_next_tokens_of_a_plain_answer(saved: tuple[Any, Any]) -> None:
    model, tokenizer = saved
    example = collate.encode(PLAIN, tokenizer)
    tokens = torch.tensor([example.tokens.tolist()])
    with torch.inference_mode():
        expected = model(tokens).logits[0].log_softmax(-1)
        found = collate.token_log_probs(model, collate.Collator()([example]))[0]
    answer = 1 + len(Conversation(tokenizer).encode(PLAIN.answer))
    for index in range(len(example.tokens) - 1 - answer, len(example.tokens) - 1):
        assert abs(float(found[index] - expected[index, tokens[0, index + 1]])) < 1e-4
    assert int((found != 0).sum()) == answer


def test_a_loss_reaches_every_parameter(saved: tuple[Any, Any]) -> None:
    model, tokenizer = saved
    batch = collate.Collator()([collate.encode(LONG, tokenizer), collate.encode(SHORT, tokenizer)])
    (-collate.token_log_probs(model, batch).sum()).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in model.parameters())
    model.zero_grad()
