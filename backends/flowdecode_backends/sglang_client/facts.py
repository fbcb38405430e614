"""What an SGLang server says of itself. What it leaves out is taken to be as SGLang's defaults are."""

from __future__ import annotations

import msgspec

from flowdecode.backend import Grammar, Load
from flowdecode_backends.moments import Pace

__all__ = ["Loads", "ModelList", "ServerInfo"]

_TAKES_EBNF = {"xgrammar", "llguidance"}
_TAKES_REGEX = {"outlines"}
_ORDERED_BY_PRIORITY = {"fcfs", "lof"}


class _State(msgspec.Struct, frozen=True):
    effective_max_running_requests_per_dp: int | None = None


class ServerInfo(msgspec.Struct, frozen=True):
    """The answer of `/server_info`, or behind a gateway of `/get_model_info`, as far as it is used."""

    model_path: str = ""
    served_model_name: str | None = None
    tokenizer_path: str | None = None
    version: str | None = None
    schedule_policy: str = "fcfs"
    enable_priority_scheduling: bool = False
    schedule_low_priority_values_first: bool = False
    page_size: int = 1
    disable_radix_cache: bool = False
    chunked_prefill_size: int | None = None
    enable_mixed_chunk: bool = False
    skip_tokenizer_init: bool = False
    grammar_backend: str | None = "xgrammar"
    enable_deterministic_inference: bool | None = None
    """Without it seeds are ignored; None: not told, as behind a gateway."""
    dp_size: int = 1
    max_req_input_len: int | None = None
    max_total_num_tokens: int | None = None
    """Tokens that its KV cache holds."""
    internal_states: list[_State] = []

    @property
    def name(self) -> str:
        return self.served_model_name or self.model_path or "sglang"

    @property
    def behind_gateway(self) -> bool:
        """Whether a gateway has answered, which knows the model and not the server's settings."""
        return self.enable_deterministic_inference is None

    @property
    def honours_priority(self) -> bool:
        """Whether it schedules by `priority`; elsewhere it ignores the field without a word."""
        return self.enable_priority_scheduling and self.schedule_policy in _ORDERED_BY_PRIORITY

    def priority(self, remaining: int) -> int:
        """The server's number for a request with so much behind it: more must go first."""
        return -remaining if self.schedule_low_priority_values_first else remaining

    def constraint(self, grammar: Grammar) -> dict[str, str]:
        """The sampling parameter for a grammar, in a form that the server's grammar backend takes."""
        if self.skip_tokenizer_init or self.grammar_backend is None:
            return {}
        if self.grammar_backend in _TAKES_EBNF:
            return {"ebnf": grammar.ebnf}
        return {"regex": grammar.regex} if self.grammar_backend in _TAKES_REGEX else {}

    @property
    def takes_grammar(self) -> bool:
        return bool(self.constraint(Grammar("", "")))

    @property
    def slots(self) -> int | None:
        """Requests that its batch holds."""
        each = self.internal_states[0].effective_max_running_requests_per_dp if self.internal_states else None
        return each * self.dp_size if each else None

    @property
    def longest_prompt(self) -> int | None:
        """Tokens of the longest prompt that its scheduler takes."""
        return self.max_req_input_len - 1 if self.max_req_input_len else None


class _Model(msgspec.Struct, frozen=True):
    max_model_len: int | None = None


class ModelList(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[_Model] = []

    @property
    def context_length(self) -> int | None:
        return self.data[0].max_model_len if self.data else None


class _RankLoad(msgspec.Struct, frozen=True):
    num_running_reqs: int = 0
    num_waiting_reqs: int = 0
    decode_moments: list[float] | None = None
    """Sums over decoding steps of a batch of b in t µs: 1, b, t, b², b·t, and the tokens."""


class Loads(msgspec.Struct, frozen=True):
    """The answer of `/v1/loads`: one load for each data-parallel rank."""

    loads: list[_RankLoad] = []

    def load(self, paces: dict[int, Pace]) -> Load:
        """Requests over all ranks; slowdown and growth are those of the rank that is slowed most.

        `paces` keeps what was read of each.
        """
        told = [
            paces.setdefault(rank, Pace()).read(load.decode_moments, load.num_running_reqs)
            for rank, load in enumerate(self.loads)
        ]
        slowdown, growth = max((each for each in told if each is not None), default=(None, None))
        return Load(
            running=sum(load.num_running_reqs for load in self.loads),
            waiting=sum(load.num_waiting_reqs for load in self.loads),
            slowdown=slowdown,
            growth=growth,
        )
