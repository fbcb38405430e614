"""A model as judge: which of two answers is better, asked in both orders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flowdecode
from flowdecode.flow import Flow
from flowdecode.template import fill_template
from flowdecode_graphs.evaluation.answers import Choice, Folder, Judgement, Order
from flowdecode_graphs.evaluation.measures import Pair
from flowdecode_graphs.evaluation.variants import BASELINE
from flowdecode_graphs.evaluation.workers import work_off

__all__ = ["JUDGE_PROMPT", "ORDERS", "Judge", "read_choice"]

JUDGE_PROMPT = """\
Two assistants answered the same request. Judge which answer helps the reader more: is it right, complete, \
to the point, and consistent from beginning to end? Neither length nor headings nor the order in which the \
answers stand here make one better.

The request:
{prompt}

Answer 1:
{first}

Answer 2:
{second}

Compare them in one or two sentences. Then end with one line, exactly one of
Verdict: 1
Verdict: 2
Verdict: tie"""

ORDERS: tuple[Order, Order] = ("shown-first", "shown-second")
MAX_TOKENS = 512

_VERDICT = re.compile(r"verdict\W*(1|2|tie)\b", re.IGNORECASE)
_CHOICES: dict[str, Choice] = {"1": "first", "2": "second", "tie": "tie"}


def read_choice(text: str) -> Choice | None:
    """`first`, `second` or `tie`, by the last verdict in a judge's answer; None where there is none."""
    found = _VERDICT.findall(text)
    return _CHOICES[found[-1].lower()] if found else None


class _Case(NamedTuple):
    pair: Pair
    order: Order


class Judge:
    """Asks for every pair in both orders what was not asked yet, and stores what the judge says.

    Two answers that are the same, byte for byte, need no judge. `done` is called behind every verdict.
    """

    def __init__(
        self,
        folder: Folder,
        pairs: Sequence[Pair],
        url: str,
        *,
        concurrency: int = 1,
        connect: Callable[[str], Flow] = flowdecode.connect,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self._folder = folder
        self._url = url
        self._concurrency = concurrency
        self._connect = connect
        self._done = done
        self.pending = [
            _Case(pair, order)
            for pair in pairs
            for order in ORDERS
            if pair.answered.variant != BASELINE
            and pair.result.text != pair.sequential.text
            and not folder.has_judgement(pair.answered, order)
        ]

    async def run(self) -> None:
        """Judge what is pending. Raises FlowdecodeError; what was judged is kept."""
        if not self.pending:
            return
        async with self._connect(self._url) as flow:
            await work_off(self.pending, lambda case: self._judge(flow, case), workers=self._concurrency)

    async def _judge(self, flow: Flow, case: _Case) -> None:
        pair, order = case
        texts = [pair.result.text, pair.sequential.text]
        first, second = texts if order == "shown-first" else reversed(texts)
        said = await flow.run(
            fill_template(JUDGE_PROMPT, prompt=pair.item.prompt, first=first, second=second),
            strategy="sequential",
            temperature=0,
            max_tokens=MAX_TOKENS,
        )
        self._folder.add_judgement(
            Judgement(
                item=pair.item.id,
                variant=pair.answered.variant,
                repeat=pair.answered.repeat,
                order=order,
                choice=read_choice(said.text),
                text=said.text,
                model=said.model,
            )
        )
        self._done()
