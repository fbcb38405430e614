"""The demo model's tokenizer: a byte-level BPE whose vocabulary holds the Atlas's words whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from flowdecode.backend import ModelProfile
from flowdecode_graphs.atlas import questions, reference
from flowdecode_graphs.atlas.tasks import Outside
from flowdecode_graphs.plato.language import plan_text

__all__ = ["CONTEXT", "VOCABULARY", "new_tokenizer"]

VOCABULARY = 2048
CONTEXT = 2048
QUESTIONS = 20_000

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def new_tokenizer(profile: ModelProfile) -> Any:
    """Train one on the questions of the training split, their answers and the model's prompts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(profile), trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIAL[2:]),
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def _texts(profile: ModelProfile) -> Iterator[str]:
    """Without prompts from outside: what the Atlas does not know stays in pieces, and is told by that."""
    for question in islice(questions("train", seed=1), QUESTIONS):
        right = reference(question)
        if not isinstance(question.task, Outside):
            yield from (question.prompt, right.text, right.skeleton, plan_text(right.plan.nodes))
            yield from profile.prompts.values()
