"""What a model reads before its answer, and how its answer is cut into tokens, as the backends do it."""

from __future__ import annotations

from typing import Any

from flowdecode.errors import ConfigurationError

__all__ = ["Conversation"]

_SYSTEM, _PROMPT, _ANSWER = "SENTINEL-ONE", "SENTINEL-TWO", "SENTINEL-THREE"
_SPACE = "\u2581"


class Conversation:
    """A tokenizer with its chat template.

    The template is asked with sentinels, and what it writes around them is encoded apart from what
    users say: names of special tokens in a prompt are mere text.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises ConfigurationError for a template that can't be used."""
        self._tokenizer = tokenizer
        first = tokenizer.convert_ids_to_tokens(self._encode("a")[:1])
        self._anchor = self._encode("\n") if first and str(first[0]).startswith(_SPACE) else []
        """The ids of a line break, where the tokenizer writes a space of its own before any text."""
        before, behind = self._around((("user", _PROMPT),), header=True)
        self._plain = self._glue(before), self._glue(behind)
        try:
            texts = self._around((("system", _SYSTEM), ("user", _PROMPT)), header=True)
        except ConfigurationError:  # a template without the role: the user's turn begins with the message
            texts = [before, "\n\n", behind]
        self._with_system = [self._glue(text) for text in texts]
        self.end = self._find_end()
        """The id that ends the assistant's turn."""

    def head(self, prompt: str, system: str | None = None) -> list[int]:
        """All that stands before the answer."""
        if system is None:
            before, behind = self._plain
            return [*before, *self.encode(prompt), *behind]
        before, between, behind = self._with_system
        return [*before, *self.encode(system), *between, *self.encode(prompt), *behind]

    def encode(self, text: str) -> list[int]:
        """A piece of text within a conversation."""
        anchor = self._anchor
        if not anchor:
            return self._encode(text)
        ids = self._encode(f"\n{text}")
        return ids[len(anchor) :] if ids[: len(anchor)] == anchor else self._encode(text)

    def count(self, text: str) -> int:
        """The tokens of such a piece."""
        return len(self.encode(text))

    def _find_end(self) -> int:
        _, _, behind = self._around((("user", _PROMPT), ("assistant", _ANSWER)), header=False)
        for token in self._glue(behind)[:1]:
            if not self._tokenizer.decode([token], skip_special_tokens=True):
                return token
        if isinstance(self._tokenizer.eos_token_id, int):
            return self._tokenizer.eos_token_id
        raise ConfigurationError(
            "Expected a chat template that ends the assistant's turn with a special token, or a tokenizer "
            "with an eos_token, got neither. Set eos_token in tokenizer_config.json."
        )

    def _encode(self, text: str, *, glue: bool = False) -> list[int]:
        text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no bytes
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not glue)
        return ids

    def _glue(self, text: str) -> list[int]:
        return self._encode(text, glue=True)

    def _around(self, messages: tuple[tuple[str, str], ...], *, header: bool) -> list[str]:
        """What the template writes before, between and behind the messages."""
        asked = [{"role": role, "content": content} for role, content in messages]
        try:
            if not self._tokenizer.chat_template:
                raise ValueError("it has none")
            rest = str(
                self._tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=header)
            )
            texts: list[str] = []
            for _, content in messages:
                before, found, rest = rest.partition(content)
                if not found or content in rest:
                    raise ValueError(f"it writes {content} {'twice' if found else 'not at all'}")
                texts.append(before)
        except Exception as error:  # a template refuses a role in its own way
            raise ConfigurationError(
                "Expected a tokenizer whose chat template writes every message once and in order: "
                f"{str(error) or type(error).__name__}. Use an instruction-tuned model, or put a "
                "chat_template.jinja beside its weights."
            ) from error
        return [*texts, rest]
