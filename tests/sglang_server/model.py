"""What the server serves: the project's demo model, or until there is one, a tiny random Llama."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["DEMO", "demo_or_random", "save_random"]

DEMO = Path(__file__).parents[2] / "backends" / "flowdecode_backends" / "demo" / "atlas"

TEXT = "What is tea? Tea is an infusion of leaves. Compare tea with coffee, cocoa and water; answer.\n" * 4
SPECIALS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = """
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking %}{{- '<think>\n' }}{% endif %}{% endif %}"""


def demo_or_random(folder: Path) -> Path:
    """The demo model's folder where it is there, else `folder` with a random model in it."""
    return DEMO if (DEMO / "config.json").exists() else save_random(folder)


def save_random(folder: Path, *, context_length: int = 4096) -> Path:
    """Write a Llama of 0.6 million random parameters with a byte-level tokenizer and a chat template."""
    tokenizers: Any = import_module("tokenizers")  # here, as most of the tests need none of them
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=SPECIALS,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator([TEXT], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=512,
        max_position_embeddings=context_length,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
