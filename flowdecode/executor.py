"""The life of nodes: waiting, ready, running, ended. All of it synchronous, but for the nodes' own tasks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from flowdecode.attempt import ABORT_DEADLINE, Decode, decode
from flowdecode.errors import FlowdecodeError, NodeError
from flowdecode.events import NodeFailed, NodeFinished, NodePlanned, NodeReady, NodeStarted
from flowdecode.node import Node
from flowdecode.ready import Admission
from flowdecode.result import NodeStatus

if TYPE_CHECKING:
    from flowdecode.execution import Execution

__all__ = ["Executor"]

HOLE = "[Missing: {title}]"
"""What stands in a partial answer where a node failed."""

_log = logging.getLogger("flowdecode")


class Executor:
    """Starts every node of a run as soon as it may: no task waits for another one.

    A running node is a plain asyncio task with an anyio cancel scope: cancelling is level, and a
    task costs a fifth of what an anyio task group takes to start one.
    """

    def __init__(self, run: Execution, admission: Admission, *, width: int | None) -> None:
        self.nodes: dict[str, Node[Any]] = {}
        self.lane = admission.lane(self._start, width=width)
        self.context = contextvars.copy_context()
        """What every node's task begins with a copy of."""
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[Node[Any], asyncio.Task[None]] = {}
        self._new_scope = type(CancelScope())
        """What anyio makes on this event loop: asking for it by CancelScope() takes twice as long."""

    def admit(self, node: Node[Any]) -> None:
        """A new node waits for its parents, or is ready."""
        self.nodes[node.id] = node
        self.lane.grew()
        self._run.journal.append(
            NodePlanned(
                node.planned_at,
                node.id,
                node.kind,
                node.title,
                tuple([parent.id for parent in node.parents]),
                node.expected_tokens,
            )
        )
        for parent in node.parents:
            if not parent.ended:
                node.unfinished_parents += 1
                parent.children.append(node)
            elif parent.error is not None or parent.status == "cancelled":
                self._skip(node, parent)
                return
        if not node.unfinished_parents:
            self._ready(node, node.planned_at)

    def cancel(self, node: Node[Any], error: FlowdecodeError | None) -> None:
        """End a node that is no longer wanted: at once, or as soon as its engine request has ended."""
        if node.scope is not None:
            node.error = error
            node.scope.cancel()
            return
        self.lane.withdraw(node)
        self._end(node, "cancelled", error)

    def _ready(self, node: Node[Any], at: float) -> None:
        node.status = "ready"
        node.ready_at = at
        self._run.journal.append(NodeReady(at, node.id))
        if isinstance(node.action, Decode):
            self.lane.submit(node)
        else:
            self._start(node)

    def _start(self, node: Node[Any]) -> None:
        node.status = "running"
        node.sent_at = self._run.now()
        node.scope = self._new_scope()
        self._run.journal.append(NodeStarted(node.sent_at, node.id))
        # By no task factory: an eager one would run a chain of nodes as deep recursion.
        self._tasks[node] = asyncio.Task(self._drive(node), loop=self._loop, context=self.context.copy())

    async def _drive(self, node: Node[Any]) -> None:
        """The task of a running node."""
        assert node.scope is not None
        action = node.action
        try:
            with node.scope:
                try:
                    output = await (
                        decode(self._run, node, action) if isinstance(action, Decode) else action()
                    )
                except Exception as error:
                    self._fail(node, error)
                else:
                    self._succeed(node, output)
        finally:
            if node.scope.cancel_called and not node.ended:
                self._end(node, "cancelled", node.error)
            elif not node.ended:
                self._fail(node, asyncio.CancelledError("the node's own code, or the end of the event loop"))
            if isinstance(action, Decode):
                self.lane.release()
            node.scope = None
            del self._tasks[node]

    def _succeed(self, node: Node[Any], output: Any) -> None:
        at = self._run.now()
        node.succeed(output, at)
        self._ended(node)
        for child in node.children:
            child.unfinished_parents -= 1
            if not child.unfinished_parents and not child.ended:
                self._ready(child, at)

    def _fail(self, node: Node[Any], cause: BaseException) -> None:
        error = NodeError(node.id, cause)
        if self._run.on_error != "partial":
            node.graph.answer.cut()
        self._mark_hole(node)
        self._end(node, "failed", error)
        for child in node.children:
            self._skip(child, node)
        node.graph.failed(error)

    def _skip(self, node: Node[Any], parent: Node[Any]) -> None:
        """A parent of `node` will never have an output, so neither will it, nor those behind it."""
        skipped = [(node, parent)]
        while skipped:
            node, parent = skipped.pop()
            if node.ended:
                continue
            self._mark_hole(node)
            error = parent.error or NodeError(parent.id, asyncio.CancelledError("it was cancelled"))
            self._end(node, "skipped", error)
            skipped += [(child, node) for child in node.children]

    def _mark_hole(self, node: Node[Any]) -> None:
        if node.slot is not None and self._run.on_error == "partial":
            node.slot.write(HOLE.format(title=node.title or "the rest of the answer"))

    def _end(self, node: Node[Any], status: NodeStatus, error: FlowdecodeError | None) -> None:
        node.end(status, self._run.now(), error)
        node.graph.allowance.forget(node.id)
        self._ended(node)
        for child in node.children:
            if child.graph is not node.graph:
                self._skip(child, node)

    def _ended(self, node: Node[Any]) -> None:
        at = node.finished_at or 0.0
        if node.status in ("failed", "skipped"):
            self._run.journal.append(NodeFailed(at, node.id, node.status, str(node.error)))
        else:
            self._run.journal.append(NodeFinished(at, node.id, node.status))
        node.graph.ended()

    async def wait_for_tasks(self) -> None:
        """Wait for cancelled nodes, for as long as an abort may take."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks.values(), timeout=2 * ABORT_DEADLINE)
            if pending:
                _log.warning(
                    "%d nodes of run %s did not end when they were cancelled.", len(pending), self._run.id
                )

    def free_node_id(self, wanted: str | None) -> str:
        """`wanted`, or the next number; with a number behind it where that is taken."""
        if wanted is None:
            wanted = str(len(self.nodes) + 1)
        found, number = wanted, 1
        while found in self.nodes:
            number += 1
            found = f"{wanted}-{number}"
        return found
