"""The backend `sglang-engine:`: an SGLang engine as a part of this program, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from types import TracebackType
from typing import Any

import anyio
import msgspec

from flowdecode.backend import Load, Request
from flowdecode.errors import BackendUnavailable, ConfigurationError
from flowdecode.plugins import BackendURL
from flowdecode_backends.sglang_client.facts import ServerInfo
from flowdecode_backends.sglang_client.generation import Generation
from flowdecode_backends.sglang_client.model import ServedModel, read_model
from flowdecode_backends.sglang_client.reading import Chunk, Reading, failure
from flowdecode_backends.sglang_client.served import Served
from flowdecode_backends.sglang_client.warming import WORTH_WARMING, Warming

__all__ = ["EngineStream", "SGLangEngine", "open_sglang_engine"]


class SGLangEngine(Served):
    """`sglang.Engine`, started when it is first entered and ended at the last exit.

    Starting it takes seconds to minutes, in which the event loop stands still: SGLang installs signal
    handlers, which only the main thread may do. Its processes are children of this one: the program
    needs the usual `if __name__ == "__main__":`.
    """

    def __init__(self, model: str, **arguments: Any) -> None:
        """`model` is a folder or a name on the Hugging Face hub, `arguments` what `sglang.Engine` takes."""
        super().__init__()
        self._source = model
        self._arguments = arguments
        self._users = 0
        self._opening = anyio.Lock()
        self.running = 0
        """Requests whose stream is open."""

    async def __aenter__(self) -> SGLangEngine:
        async with self._opening:
            if not self._users:
                await self._open()
            self._users += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._users -= 1
        if not self._users:
            # Its task reads results for ever; it belongs to this event loop.
            tasks = [task for task in self.sglang.tokenizer_manager.asyncio_tasks if not task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self.sglang.shutdown)

    def decode(self, request: Request) -> EngineStream:
        return EngineStream(self, request)

    async def load(self) -> Load:
        """The requests of this program: the engine has no others."""
        return Load(running=self.running, waiting=0)

    async def _open(self) -> None:
        model = read_model(self._source)
        try:
            sglang: Any = import_module("sglang")
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Expected SGLang, {error.name} is not installed. "
                "Install it: pip install 'flowdecode[sglang-server]'."
            ) from error
        settings = {"incremental_streaming_output": True, **self._arguments}
        self.sglang: Any = sglang.Engine(model_path=self._source, **settings)
        try:
            await self._read_facts(model)
        except BaseException:
            self.sglang.shutdown()
            raise

    async def _read_facts(self, model: ServedModel) -> None:
        manager = self.sglang.tokenizer_manager
        states = await manager.get_internal_state()
        told = {
            **manager.server_args.resolved_dict(),
            "internal_states": states,
            "max_req_input_len": manager.max_req_input_len,
            "max_total_num_tokens": states[0]["memory_usage"]["token_capacity"],
        }
        info = msgspec.convert(
            {field: told[field] for field in ServerInfo.__struct_fields__ if field in told},
            type=ServerInfo,
            strict=False,
        )
        self.describe(info, model, manager.model_config.context_len)
        self.warming = Warming(
            worth=0 if info.disable_radix_cache else WORTH_WARMING,
            page_size=info.page_size,
            capacity=info.max_total_num_tokens,
        )


class EngineStream(Generation):
    """One request to the engine: context manager and stream in one object."""

    def __init__(self, backend: SGLangEngine, request: Request) -> None:
        self._backend = backend
        self._request = request

    async def __aenter__(self) -> EngineStream:
        backend, request = self._backend, self._request
        assert backend.tokens is not None
        prompt = backend.check(request, backend.tokens.render(request.context))
        self.begin(backend.warming, Reading(backend.tokens, prompt, request.sampling.stop), prompt)
        await self.turn()
        backend.running += 1
        try:
            self._chunks: AsyncIterator[dict[str, Any]] = await backend.sglang.async_generate(
                input_ids=list(prompt),
                sampling_params=backend.sampling(request, len(prompt)),
                stream=True,
                rid=request.id,
                session_id=request.run_id,
                priority=backend.info.priority(request.priority) if backend.info.honours_priority else None,
            )
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.finish_reason is None:
            self.finish_reason = "abort"
        try:
            if not self._reading.ended:
                await self._abort()
        finally:
            self.left()
            self._end()

    async def chunk(self) -> Chunk:
        try:
            return msgspec.convert(await anext(self._chunks), type=Chunk)
        except StopAsyncIteration:
            raise BackendUnavailable(
                "Expected the SGLang engine to go on, it has ended the stream."
            ) from None
        except ValueError as error:
            raise failure(400, str(error)) from error

    async def _abort(self) -> None:
        """End the request, and read its last chunk: what is not read is aborted only when it is collected."""
        self._backend.sglang.tokenizer_manager.abort_request(rid=self._request.id)
        await self.last_chunk()

    def _end(self) -> None:
        self._backend.running -= 1
        self.through(prefilled=False)


def open_sglang_engine(url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> SGLangEngine:
    """The backend of `sglang-engine:DIR_OR_HUB_ID?dtype=bfloat16&tp_size=2`.

    The query is what `sglang.Engine` takes: JSON values, else strings. Raises ConfigurationError.
    """
    if not url.location:
        raise ConfigurationError(
            "Expected a folder with a model, or its name on the Hugging Face hub, as in "
            "'sglang-engine:path/to/model', got 'sglang-engine:'."
        )
    return SGLangEngine(url.location, **{name: _value(text) for name, text in url.query.items()})


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
