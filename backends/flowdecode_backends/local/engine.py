"""The engine: continuous batching of all requests of a process over one model, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections import Counter, defaultdict

import torch

from flowdecode.backend import Load
from flowdecode.errors import BackendError, BackendUnavailable, ContextTooLong, RequestRejected
from flowdecode_backends.local.job import Job, Strand
from flowdecode_backends.local.model import LanguageModel
from flowdecode_backends.local.pool import Pool
from flowdecode_backends.local.prefixes import Prefixes
from flowdecode_backends.local.sampler import draw
from flowdecode_backends.local.step import Step

__all__ = ["Engine"]

_log = logging.getLogger("flowdecode")

_OWN_CHOICE = torch.get_num_threads()
"""Torch's own number of threads."""

MOST_THREADS = 128
"""The most strands in a step."""

PREFILL_CHUNK = 256
"""The most prompt tokens in a step, so that those who decode are not held up for long."""

_SMALL = 64 << 20
"""Bytes of weights below which one CPU thread is faster than several, which have to be woken each time."""

WORTH_WAITING = 16
"""Tokens that another request is about to prefill, for which one with the same prefix waits."""


class Engine:
    """Steps while there is work: a step feeds the next token of every strand, and chunks of new prompts.

    1. Clients put jobs into the inbox, from any event loop. 2. A job joins the batch when there is room:
    first those of the run with the fewest jobs in it, of one run the highest priority, then the oldest.
    3. It starts behind the longest prefix that any other request has computed, running ones included.
    4. When slots run short the least recently used prefixes go, then the youngest job of the largest run
    is put back into the queue. 5. What a step decoded is handed to each event loop in one call.
    """

    def __init__(self, model: LanguageModel, memory: int, threads: int | None = None) -> None:
        """`memory` is the limit of the KV pool in bytes, `threads` torch's number of threads."""
        self.model = model
        self.memory = memory
        self.pool = Pool(memory // model.bytes_per_slot, MOST_THREADS)
        self.context_length = min(model.context_length, self.pool.slots)
        self.users = 0
        """How many have it open."""
        self.steps = 0
        """Forward passes so far."""
        self._threads = threads
        self._prefixes = Prefixes(self.pool)
        self._batch: list[Job] = []
        self._queue: list[Job] = []
        self._inbox: list[Job] = []
        self._passed_over = 0
        """Of the queue, those that the last step had no room for."""
        self._news: dict[asyncio.AbstractEventLoop, list[Job]] = defaultdict(list)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"flowdecode {model.name}", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    @property
    def load(self) -> Load:
        """Jobs that have a place or are about to have one, and those that there is no room for."""
        waiting = min(self._passed_over, len(self._queue))
        running = len(self._batch) + len(self._queue) + len(self._inbox) - waiting
        return Load(running=running, waiting=waiting)

    def hold(self) -> None:
        """Count one more user; from any thread."""
        with self._changed:
            self.users += 1

    def release(self) -> None:
        """Count one user less; from any thread."""
        with self._changed:
            self.users -= 1

    def submit(self, job: Job) -> None:
        """Queue a job; from any thread."""
        with self._changed:
            if self._stopping:
                raise BackendUnavailable("The local engine was stopped.")
            self._inbox.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Have a job end at the next step; from any thread."""
        with self._changed:
            job.cancelled = True
            self._changed.notify()

    def stop(self) -> None:
        """End the engine's thread behind the current step; what still runs fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.stop)

    def _run(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        elif self.model.device.type == "cpu" and self.model.bytes < _SMALL:
            torch.set_num_threads(1)
        else:
            torch.set_num_threads(_OWN_CHOICE)  # an engine before it may have set its own
        _log.info("%s decodes with %d CPU thread(s).", self.model.name, torch.get_num_threads())
        while self._wait():
            try:
                self._turn()
            except Exception as error:
                _log.exception("A step of the local engine failed.")
                self._fail_all(BackendError(f"A step of the local engine failed: {error}"))
            self._deliver()
        self._fail_all(BackendUnavailable("The local engine was stopped while the request ran."))
        self._deliver()

    def _wait(self) -> bool:
        """Sleep while there is nothing to do; whether to go on."""
        with self._changed:
            while not (self._stopping or self._inbox or self._batch or self._queue):
                self._changed.wait()
            self._queue += self._inbox
            self._inbox = []
            return not self._stopping

    def _turn(self) -> None:
        for job in [job for job in (*self._batch, *self._queue) if job.cancelled]:
            self._end(job)
        self._admit()
        step = self.model.new_step(self.pool)
        wanted = self._feed(step)
        if len(step):
            self.steps += 1
            logits = self.model.forward(step, [feed for _, feed in wanted] or [0])
            strands = [strand for strand, _ in wanted]
            if strands:
                for strand, token in zip(strands, draw(logits, [s.sampler for s in strands]), strict=True):
                    self._take(strand, token)
        for job in [job for job in self._batch if job.ended]:
            self._end(job)

    def _admit(self) -> None:
        """Move jobs from the queue into the batch as long as there is room."""
        if self._queue:
            for job in self._batch:
                self._prefixes.publish(job)
        in_batch = Counter(job.run_id for job in self._batch)
        waiting = list(self._queue)
        coming = 0
        while waiting and self.pool.free_threads:
            job = min(waiting, key=lambda job: (in_batch[job.run_id], -job.priority, job.arrival))
            waiting.remove(job)
            tokens = tuple(job.tokens)
            known = self._prefixes.known(tokens)
            if self._coming(tokens, known):
                coming += 1
                continue
            # One slot more for each: what is decoded next should fit too.
            room = self.pool.free + self._prefixes.evictable - len(self._batch)
            if self._batch and len(tokens) - known >= room:
                break
            self._prefixes.open(job, tokens, known)
            if not job.admitted:
                job.admitted, job.cached = True, job.base
            self._queue.remove(job)
            self._batch.append(job)
            in_batch[job.run_id] += 1
        self._passed_over = len(self._queue) - coming

    def _coming(self, tokens: tuple[int, ...], known: int) -> bool:
        """Whether the batch is about to compute much more of a prompt than is known."""
        return any(
            len(job.main.thread.pending) > 1
            and shared_length(tokens[:-1], job.prompt) - known > WORTH_WAITING
            for job in self._batch
        )

    def _feed(self, step: Step) -> list[tuple[Strand, int]]:
        """Fill a step; returns the strands that sample behind it, with the numbers of their feeds."""
        for job in self._batch:
            if not job.prepare():
                job.error = RequestRejected("Expected strands that end, these wait for each other's end.")
        for job in [job for job in self._batch if job.error]:
            self._end(job)
        chosen = self._choose()
        while not self._prefixes.make_room(sum(count for _, count in chosen)):
            self._put_back()
            chosen = self._choose()
        wanted: list[tuple[Strand, int]] = []
        for strand, count in chosen:
            if not strand.thread.held:
                feed = step.feed(strand.thread, count)
                if not strand.thread.pending and strand.finish_reason is None:
                    wanted.append((strand, feed))
        return wanted

    def _choose(self) -> list[tuple[Strand, int]]:
        """How many tokens each strand feeds: one where it decodes, else a share of the chunk."""
        room = PREFILL_CHUNK
        chosen: list[tuple[Strand, int]] = []
        for strand in (strand for job in self._batch for strand in job.strands if strand.ready):
            for joined in strand.joined:
                chosen.append((joined, len(joined.thread.pending)))
            count = len(strand.thread.pending)
            if count > 1:
                count = min(count, room)
                room -= count
            if count:
                chosen.append((strand, count))
        return chosen

    def _put_back(self) -> None:
        """Free the slots of one job: the youngest of the largest run goes back to the queue."""
        sizes = Counter(job.run_id for job in self._batch)
        others = [job for job in self._batch if not job.interleaved]
        if len(self._batch) > 1 and others:
            job = max(others, key=lambda job: (sizes[job.run_id], -job.priority, job.arrival))
            self._prefixes.close(job)
            self._batch.remove(job)
            self._queue.append(job)
        else:
            job = max(self._batch, key=lambda job: job.arrival)
            job.error = ContextTooLong(
                tokens=len(job.prompt) + job.completed + 1, limit=self.pool.slots, what="prompt and answer"
            )
            self._end(job)

    def _take(self, strand: Strand, token: int) -> None:
        """Give a strand the token that was sampled."""
        try:
            piece = strand.take(token, self.context_length)
        except BackendError as error:
            strand.job.error = error
            return
        except Exception as error:
            strand.job.error = RequestRejected(f"The steering of a strand failed: {error}")
            strand.job.error.__cause__ = error
            return
        if piece is not None:
            strand.job.pieces.append(piece)
            self._news[strand.job.loop].append(strand.job)

    def _end(self, job: Job) -> None:
        """Take a job out of the engine; what it has computed stays in the prefix cache."""
        if job in self._batch:
            self._prefixes.close(job)
            self._batch.remove(job)
        else:
            self._queue.remove(job)
        self._finished(job)

    def _finished(self, job: Job) -> None:
        job.done = True
        self._news[job.loop].append(job)

    def _fail_all(self, error: BackendError) -> None:
        """End every job; the pool starts anew, as a step may have left it half written."""
        with self._changed:
            self._queue += self._inbox
            self._inbox = []
        for job in (*self._batch, *self._queue):
            job.error = job.error or error
            self._finished(job)
        self._batch, self._queue = [], []
        self.pool = Pool(self.pool.slots, MOST_THREADS)
        self._prefixes = Prefixes(self.pool)

    def _deliver(self) -> None:
        """Tell the event loops, one call each, which jobs have something new."""
        news, self._news = self._news, defaultdict(list)
        for loop, jobs in news.items():
            try:
                loop.call_soon_threadsafe(_tell, jobs)
            except RuntimeError:  # the loop was closed before its requests were
                for job in jobs:
                    job.cancelled = True


def _tell(jobs: list[Job]) -> None:
    for job in jobs:
        job.tell()


def shared_length(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """The length of the longest common prefix."""
    shortest = min(len(one), len(other))
    if one[:shortest] == other[:shortest]:
        return shortest
    return next(index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
