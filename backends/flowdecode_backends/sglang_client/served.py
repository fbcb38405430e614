"""What the two SGLang backends share: a served model, its prompts, and sampling in SGLang's words."""

from __future__ import annotations

from typing import Any

from flowdecode.backend import Capabilities, Engine, Request
from flowdecode.context import Context
from flowdecode.errors import ConfigurationError
from flowdecode_backends.sglang_client.facts import ServerInfo
from flowdecode_backends.sglang_client.guards import check_prompt, check_sampling
from flowdecode_backends.sglang_client.model import ServedModel
from flowdecode_backends.tokens import ChatTokens

__all__ = ["Served"]

CHARACTERS_PER_TOKEN = 4
UNBOUNDED = 1 << 20
"""Tokens that are asked for where nobody says how many; SGLang's own default is 128."""


class Served:
    """A model that SGLang serves; what it is, is known once it has been opened."""

    info: ServerInfo
    model: ServedModel
    tokens: ChatTokens | None
    """Renders contexts; None: the server does, with its own tokenizer."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise ConfigurationError("Expected a backend that was entered. Use `async with`, or a Flow.")
        return self._engine

    def describe(
        self,
        info: ServerInfo,
        model: ServedModel,
        context_length: int | None,
        *,
        address: str | None = None,
        port: int | None = None,
    ) -> None:
        """Fill in what is known of the engine. Raises ConfigurationError for an unusable template."""
        tokens = model.chat_tokens(info.name)
        if tokens is not None:
            _ = tokens.stop_ids()
        lengths = (context_length or model.context_length, info.max_total_num_tokens)
        self.info, self.model, self.tokens = info, model, tokens
        self._engine = Engine(
            model=info.name,
            provider="sglang",
            capabilities=Capabilities(
                token_ids=tokens is not None,
                assistant_prefill=True,
                grammar=info.takes_grammar,
                priority=info.honours_priority,
                cached_tokens=True,
            ),
            context_length=min((length for length in lengths if length is not None), default=None),
            slots=info.slots,
            address=address,
            port=port,
            profile=model.profile,
        )

    def count_tokens(self, context: Context) -> int:
        if self.tokens is not None:
            return self.tokens.count(context)
        characters = sum(len(prefix.block.text) for prefix in context.prefixes())
        return -(-characters // CHARACTERS_PER_TOKEN)

    def check(self, request: Request, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """The prompt, if it and the sampling can be served. Raises RequestRejected or ContextTooLong."""
        seeds, gateway = self.info.enable_deterministic_inference is not False, self.info.behind_gateway
        check_sampling(request.sampling, vocabulary=self.model.vocabulary, seeds=seeds, gateway=gateway)
        check_prompt(
            request,
            prompt,
            vocabulary=self.model.vocabulary,
            context_length=self.engine.context_length,
            longest_prompt=self.info.longest_prompt,
        )
        return prompt

    def sampling(self, request: Request, prompt_tokens: int) -> dict[str, Any]:
        """Sampling as SGLang writes it; what is None is the model's own default."""
        given, limit = request.sampling, self.engine.context_length
        params: dict[str, Any] = {
            "temperature": given.temperature,
            "top_p": given.top_p,
            "top_k": given.top_k,
            "min_p": given.min_p,
            "repetition_penalty": given.repetition_penalty,
            "logit_bias": {str(token): bias for token, bias in given.logit_bias.items()} or None,
            "sampling_seed": given.seed,
            "max_new_tokens": given.max_tokens or (limit - prompt_tokens if limit else UNBOUNDED),
        }
        params = {name: value for name, value in params.items() if value is not None}
        ends = set(given.stop_token_ids)
        if self.tokens is not None:
            ends |= self.tokens.stop_ids(request.context.chat_template_kwargs)
        if ends:
            params["stop_token_ids"] = sorted(ends)
        if given.stop and not self.info.skip_tokenizer_init:
            params["stop"] = list(given.stop)
            params["no_stop_trim"] = True  # we look for them too, and must see what the server has seen
        if request.grammar is not None:
            params |= self.info.constraint(request.grammar)
        return params
