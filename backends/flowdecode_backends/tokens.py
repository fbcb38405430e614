"""Contexts as token ids, and token ids as text, by a model's own tokenizer and chat template.

The template is asked once, with a conversation of sentinels: what it writes around them is the glue
between blocks. Glue and blocks are tokenised apart and joined as ids, and history is never rendered
again, so that the tokens of a context are a prefix of the tokens of every extension of it, whatever
the template would do to a longer conversation (Qwen3's drops the thoughts of earlier answers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from flowdecode.backend import Delta
from flowdecode.context import Context, Role
from flowdecode.errors import ConfigurationError

__all__ = ["ChatTokens", "Detokenizer", "StopStrings", "Tokenizer"]

_SYSTEM, _FIRST, _ANSWER, _SECOND = "SENTINEL-ONE", "SENTINEL-TWO", "SENTINEL-THREE", "SENTINEL-FOUR"
_PARAGRAPH = "\n\n"
_SPACE = "\u2581"
_UNFINISHED = "\ufffd"
_LONGEST_UNFINISHED = 8


class Tokenizer(Protocol):
    """What is used of a tokenizer of Hugging Face's transformers."""

    chat_template: Any
    eos_token_id: Any

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]: ...

    def decode(
        self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> Any: ...

    def convert_ids_to_tokens(self, ids: list[int]) -> Any: ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        **kwargs: Any,
    ) -> Any: ...


class _Glue(NamedTuple):
    """What stands between blocks, as ids."""

    system: tuple[int, ...]
    """Before a system message at the head."""
    system_user: tuple[int, ...]
    user: tuple[int, ...]
    """Before the user's first message where there is no system message."""
    user_assistant: tuple[int, ...]
    """The end of the user's turn, and the header that lets the assistant speak."""
    assistant_user: tuple[int, ...]
    paragraph: tuple[int, ...]
    """Between two messages that share a turn."""


class _Rendered(NamedTuple):
    tokens: tuple[int, ...]
    """The last block's ids, the glue before it included."""
    total: int
    """The ids of the whole context, without what lets the assistant speak."""
    turn: Role
    """Whose turn the last block is in."""
    header: tuple[int, ...]
    """What lets the assistant speak behind it: nothing where it speaks already."""


class ChatTokens:
    """Renders contexts for one model; only blocks that are new cost anything. Not thread-safe.

    A system message behind the first turn is given as the user's, and so is one that the template
    has no place for (Gemma 2): the user's first turn begins with it.
    """

    def __init__(self, tokenizer: Tokenizer, model: str = "the model") -> None:
        self.tokenizer = tokenizer
        self.model = model
        self._fast: Any = getattr(tokenizer, "backend_tokenizer", None)
        """Decodes five times as fast as its wrapper does, where there is one."""
        self._glues: dict[str, _Glue] = {}
        self._memo: WeakKeyDictionary[Context, _Rendered] = WeakKeyDictionary()
        self._anchor = self._find_anchor()

    def render(self, context: Context) -> tuple[int, ...]:
        """The prompt that `context` is decoded from. Raises ConfigurationError for an unusable template.

        Where the assistant speaks already it is continued, else its header comes last.
        """
        header = self._rendered(context).header
        parts = [self._memo[prefix].tokens for prefix in context.prefixes()][::-1]
        return (*chain.from_iterable(parts), *header)

    def count(self, context: Context) -> int:
        """The length of `render(context)` without what lets the assistant speak."""
        return self._rendered(context).total

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a piece of text within a conversation; names of special tokens in it are mere text."""
        anchor = self._anchor
        ids = self._encode("\n" + text if anchor else text)
        return tuple(ids[len(anchor) :] if ids[: len(anchor)] == anchor else self._encode(text))

    def stop_ids(self, chat_template_kwargs: Mapping[str, Any] | None = None) -> frozenset[int]:
        """The ids that end the assistant's turn."""
        ends = set(self._glue(chat_template_kwargs).assistant_user[:1])
        ends = {end for end in ends if not self.decode([end])}
        if isinstance(self.tokenizer.eos_token_id, int):
            ends.add(self.tokenizer.eos_token_id)
        return frozenset(ends)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out."""
        if self._fast is not None:
            return str(self._fast.decode(ids, skip_special_tokens=True))
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _encode(self, text: str, *, glue: bool = False) -> list[int]:
        text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no bytes
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not glue)

    def _find_anchor(self) -> list[int]:
        """The ids of a line break, where the tokenizer writes a space of its own before any text."""
        first = self.tokenizer.convert_ids_to_tokens(self._encode("a")[:1])
        return self._encode("\n") if first and str(first[0]).startswith(_SPACE) else []

    def _rendered(self, context: Context) -> _Rendered:
        new: list[Context] = []
        before: _Rendered | None = None
        for prefix in context.prefixes():
            before = self._memo.get(prefix)
            if before is not None:
                break
            new.append(prefix)
        for prefix in reversed(new):
            before = self._memo[prefix] = self._render_block(prefix, before)
        assert before is not None  # a context has at least one block
        return before

    def _render_block(self, context: Context, before: _Rendered | None) -> _Rendered:
        block, glue = context.block, self._glue(context.chat_template_kwargs)
        turn: Role = "user" if block.role == "system" and before and before.turn != "system" else block.role
        if before is None:
            between = {
                "system": glue.system,
                "user": glue.user,
                "assistant": glue.user + glue.user_assistant,
            }[turn]
        elif turn == "assistant":
            between = before.header
        elif before.turn != turn:
            between = glue.system_user if before.turn == "system" else glue.assistant_user
        else:
            assert context.parent is not None
            between = () if context.parent.block.role == block.role else glue.paragraph
        tokens = between + (self.encode(block.text) if block.tokens is None else block.tokens)
        header = {
            "system": glue.system_user + glue.user_assistant,
            "user": glue.user_assistant,
            "assistant": (),
        }[turn]
        return _Rendered(tokens, (before.total if before else 0) + len(tokens), turn, header)

    def _glue(self, kwargs: Mapping[str, Any] | None) -> _Glue:
        key = repr(sorted(kwargs.items())) if kwargs else ""
        if key not in self._glues:
            self._glues[key] = self._derive(dict(kwargs or {}))
        return self._glues[key]

    def _derive(self, kwargs: dict[str, Any]) -> _Glue:
        if not self.tokenizer.chat_template:
            raise ConfigurationError(
                f"Expected a chat template, {self.model} has none. "
                "Use an instruction-tuned model, or put a chat_template.jinja beside its weights."
            )
        conversation = [("user", _FIRST), ("assistant", _ANSWER), ("user", _SECOND)]
        try:
            user, _, assistant_user, user_assistant = self._between(conversation, kwargs)
        except Exception as error:
            raise ConfigurationError(
                "Expected a chat template that writes every message once and in order, "
                f"that of {self.model} fails: {str(error) or type(error).__name__}"
            ) from error
        try:
            system, system_user, _ = self._between([("system", _SYSTEM), ("user", _FIRST)], kwargs)
        except Exception:  # a template refuses the role in its own way, or silently leaves the message out
            system, system_user = user, _PARAGRAPH
        texts = (system, system_user, user, user_assistant, assistant_user, _PARAGRAPH)
        return _Glue(*(tuple(self._encode(text, glue=True)) for text in texts))

    def _between(self, conversation: list[tuple[str, str]], kwargs: dict[str, Any]) -> list[str]:
        """What the template writes before, between and behind the messages."""
        rest = str(
            self.tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in conversation],
                **{**kwargs, "tokenize": False, "add_generation_prompt": True},
            )
        )
        texts: list[str] = []
        for role, content in conversation:
            before, found, rest = rest.partition(content)
            if not found or content in rest:
                raise ValueError(f"the {role}'s message is {'repeated' if found else 'missing'}")
            texts.append(before)
        return [*texts, rest]


class StopStrings:
    """Pieces of text with their ids: each comes out as soon as no stop string can begin in it.

    The first stop string that a piece completes ends the text before it; of a piece that it cuts, the
    visible part is tokenised anew, by `encode`.
    """

    def __init__(self, stop: Sequence[str], encode: Callable[[str], tuple[int, ...]]) -> None:
        self.reached = False
        """Whether a stop string has come."""
        self._stop = tuple(stop)
        self._encode = encode
        self._held: list[tuple[tuple[int, ...], str]] = []

    def feed(self, ids: tuple[int, ...], text: str) -> Delta:
        """What is certain with one more piece."""
        if not self._stop:
            return Delta(text, ids)
        self._held.append((ids, text))
        text = "".join(piece for _, piece in self._held)
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        self.reached = bool(found)
        end = min(found) if found else len(text) - max(_overlap(text, stop) for stop in self._stop)
        certain: list[tuple[tuple[int, ...], str]] = []
        while self._held and len(self._held[0][1]) <= end:
            certain.append(self._held.pop(0))
            end -= len(certain[-1][1])
        if found:
            tail = self._held[0][1][:end] if self._held else ""
            if tail:
                certain.append((self._encode(tail), tail))
            self._held = []
        return _joined(certain)

    def finish(self) -> Delta:
        """All that still waits."""
        held, self._held = self._held, []
        return _joined(held)


class Detokenizer:
    """Text of a growing sequence of ids: what is fed comes out as soon as it is certain.

    Ids come out with their text: a character that spans several ids comes with the last of them, and
    what may be the beginning of a stop string waits.
    """

    def __init__(self, tokens: ChatTokens, *, before: Sequence[int] = (), stop: Sequence[str] = ()) -> None:
        self._decode = tokens.decode
        self._stops = StopStrings(stop, tokens.encode)
        self._before = list(before[-4:])
        self._shown = tokens.decode(self._before) if self._before else ""
        self._new: list[int] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._stops.reached

    def feed(self, token: int) -> Delta:
        """What is certain with one more id; often one token's text, sometimes nothing."""
        self._new.append(token)
        text = self._decode(self._before + self._new)
        if text.endswith(_UNFINISHED) and len(self._new) < _LONGEST_UNFINISHED:
            return Delta("")
        return self._take(text)

    def finish(self) -> Delta:
        """All that still waits."""
        last = self._take(self._decode(self._before + self._new)) if self._new else Delta("")
        if self.stopped:
            return last
        held = self._stops.finish()
        return Delta(last.text + held.text, last.tokens + held.tokens)

    def _take(self, text: str) -> Delta:
        piece = self._stops.feed(tuple(self._new), text[len(self._shown) :])
        self._before, self._new = self._new, []
        self._shown = self._decode(self._before)
        return piece


def _joined(pieces: list[tuple[tuple[int, ...], str]]) -> Delta:
    return Delta("".join(text for _, text in pieces), tuple(chain.from_iterable(ids for ids, _ in pieces)))


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
