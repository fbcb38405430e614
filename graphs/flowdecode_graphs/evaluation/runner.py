"""The answers: every variant on every prompt, in turns, so that a drifting machine is fair to all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import flowdecode
from flowdecode.errors import BackendUnavailable, FlowdecodeError, RateLimited
from flowdecode.events import AnswerDelta
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode_graphs.atlas.sections import split_sections
from flowdecode_graphs.evaluation.answers import Answered, Folder, Job, Manifest
from flowdecode_graphs.evaluation.variants import Variant
from flowdecode_graphs.evaluation.workers import work_off

__all__ = ["Runner", "in_turns"]

_log = logging.getLogger("flowdecode")


def in_turns(manifest: Manifest) -> Iterator[Job]:
    """All jobs: one prompt after the other, each by all variants; which of them is first goes round."""
    names = manifest.variants
    for repeat in range(1, manifest.repeat + 1):
        for place, item in enumerate(manifest.items):
            first = (place + repeat - 1) % len(names)
            for name in (*names[first:], *names[:first]):
                yield Job(item, name, repeat)


class Runner:
    """Runs what is not answered yet, and stores each answer as it comes.

    `token_limit` bounds what is decoded from here on: at the limit no run is begun. `done` is called behind
    every answer.
    """

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        variants: Sequence[Variant],
        *,
        token_limit: int | None = None,
        connect: Callable[[str], Flow] = flowdecode.connect,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self._folder = folder
        self._settings = manifest.settings
        self._variants = {variant.name: variant for variant in variants}
        self.pending = [
            job for job in in_turns(manifest) if job.variant in self._variants and not folder.has(job)
        ]
        self.left_out = 0
        """Jobs that the limit on tokens left undone."""
        self._limit = token_limit
        self._tokens = 0
        self._connect = connect
        self._done = done
        self._flows: dict[str, Flow] = {}

    async def run(self) -> None:
        """Answer what is pending. Raises FlowdecodeError where the engine is gone; what was done is kept."""
        if not self.pending:
            return
        async with AsyncExitStack() as opened:
            for variant in self._variants.values():
                url = with_query(self._settings.backend, variant.query)
                if url not in self._flows:
                    self._flows[url] = await opened.enter_async_context(self._connect(url))
            for name in dict.fromkeys(job.variant for job in self.pending):
                # The first run pays for what is only done once: a compiled grammar, cold code.
                await self._decode(Job(self.pending[0].item, name, 0))
            await work_off(self.pending, self._answer, workers=self._settings.concurrency)

    async def _answer(self, job: Job) -> None:
        if self._limit is not None and self._tokens >= self._limit:
            self.left_out += 1
            return
        self._folder.add(await self._decode(job))
        self._done()

    async def _decode(self, job: Job) -> Answered:
        """One run. It may fail: then that is what is stored, but not where the engine is gone."""
        variant, settings = self._variants[job.variant], self._settings
        emitted: list[tuple[float, int]] = []
        length = 0
        result: Result | None = None
        error = None
        streaming = self._flows[with_query(settings.backend, variant.query)].stream(
            job.item.prompt,
            strategy=variant.strategy,
            system=settings.system,
            width=variant.width,
            timeout=settings.timeout,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            seed=None if settings.seed is None else settings.seed + job.repeat,
        )
        try:
            async with streaming as run:
                async for event in run:
                    if isinstance(event, AnswerDelta):
                        length += len(event.text)
                        emitted.append((event.at, length))
                result = await run.result()
        except (BackendUnavailable, RateLimited):
            raise
        except FlowdecodeError as raised:
            error, result = str(raised), raised.partial
            _log.warning("%s failed on %r: %s", job.variant, job.item.prompt[:60], error)
        self._tokens += result.usage.completion_tokens if result else 0
        end = first_section_end(result.text) if result else 0
        return Answered(
            item=job.item.id,
            variant=job.variant,
            repeat=job.repeat,
            result=result,
            error=error,
            first_text_at=next((at for at, _ in emitted), None),
            first_part_at=next((at for at, length in emitted if length >= end), None),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def with_query(url: str, query: str) -> str:
    """The URL with more behind its `?`."""
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def first_section_end(text: str) -> int:
    """Characters up to the second heading: of all of the text, where it has no sections."""
    end = 0
    for line in text.splitlines(keepends=True):
        if len(split_sections(text[: end + len(line)])) > 1:
            return len(text[:end].rstrip())
        end += len(line)
    return len(text.rstrip())
