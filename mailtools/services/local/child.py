"""Become the owner of a mailbox for its deliveries: a deputy, a child process for each owner.

Where we are root, a delivery into somebody's mailbox is done by his deputy: a process that has
given up root for good before it looks at anything of his. It stays for the next message, since
starting one costs more than a delivery. Orders and answers go through pipes as JSON, so that
nothing a user could bring about in his deputy runs in the parent; the message follows its order.

Without root, or for what the accounts say is root's own, it is done here and now.
"""

from __future__ import annotations

import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

from mailtools.errors import Failure, SystemTrouble
from mailtools.services.access.become import become

DEPUTIES_MOST = 20
END_MOST = 5.0  # seconds that one has to end: its user may have stopped it


class Outcome:
    """What a piece of work did: a text for the report, and addresses to send the message on to."""

    __slots__ = ("forwards", "text")

    def __init__(self, text: str = "", forwards: list[str] | None = None) -> None:
        self.text = text
        self.forwards = forwards or []


Order = dict[str, Any]
"""What is to be done, in values that JSON has; what they mean is the worker's business."""
Work = Callable[[Order, bytes], Outcome]
"""Does an order with a message; raises Failures."""


class _Deputy:
    __slots__ = ("answers", "orders", "pid")

    def __init__(self, pid: int, orders: int, answers: int) -> None:
        self.pid = pid
        self.orders = orders
        self.answers = answers


class Deputies:
    """The deputies of one agent, by uid, gid and user; of many, the longest idle goes."""

    def __init__(self, work: Work, patience: float) -> None:
        """Take what is to be done with an order, and how many seconds a deputy has for one."""
        self._work, self._patience = work, patience
        self._deputies: dict[tuple[int, int, str], _Deputy] = {}

    def do(self, owner: tuple[int, int, str], order: Order, message: bytes) -> Outcome:
        """Do an order as `owner` (uid, gid, and name for his groups); raise what it raises."""
        if os.geteuid() != 0 or owner[0] == 0:
            return self._work(order, message)
        import json

        deputy = self._deputies.pop(owner, None) or self._start(owner)
        said = json.dumps([order, len(message)]).encode() + b"\n" + message
        line = _asked(deputy, said, self._patience)
        if line is None:
            # He may be stopped, by his user or for what he was given to open.
            os.kill(deputy.pid, signal.SIGKILL)
            detail = f"the deputy of uid {owner[0]} fell silent: {_end(deputy)}"
            raise SystemTrouble(detail=detail)
        if not line.endswith(b"\n"):
            raise SystemTrouble(detail=f"the deputy of uid {owner[0]} died: {_end(deputy)}")
        self._deputies[owner] = deputy
        done = json.loads(line)
        if "status" in done:
            raise Failure(
                done["text"], detail=done["detail"], status=done["status"], reply=done["reply"]
            )
        return Outcome(done["text"], done["forwards"])

    def close(self) -> None:
        """End all deputies."""
        for deputy in self._deputies.values():
            _end(deputy)
        self._deputies.clear()

    def _start(self, owner: tuple[int, int, str]) -> _Deputy:
        # Now, and not in the child: its user may not be able to read them.
        import json  # noqa: F401
        import subprocess  # noqa: F401 (local_pipe.run)

        while len(self._deputies) >= DEPUTIES_MOST:
            _end(self._deputies.pop(next(iter(self._deputies))))
        orders, to_deputy = os.pipe()
        from_deputy, answers = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(to_deputy)
                os.close(from_deputy)
                self._serve(owner, orders, answers)
            finally:
                os._exit(0)  # nothing of the parent's is to be flushed or cleaned up twice
        os.close(orders)
        os.close(answers)
        os.set_blocking(to_deputy, False)
        return _Deputy(pid, to_deputy, from_deputy)

    def _serve(self, owner: tuple[int, int, str], orders: int, answers: int) -> None:
        import json

        low, high = sorted((orders, answers))
        for first, behind in ((3, low), (low + 1, high), (high + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(first, behind)  # pipes held open here would never end for others
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        refused: Failure | None = None
        try:
            become(*owner)
        except Failure as failure:
            refused = failure
        with open(orders, "rb") as source:
            for line in source:
                order, length = json.loads(line)
                message = source.read(length)
                if len(message) < length:
                    return
                said = _said(refused) if refused else self._done(order, message)
                _write(answers, json.dumps(said).encode() + b"\n")

    def _done(self, order: Order, message: bytes) -> dict[str, object]:
        try:
            outcome = self._work(order, message)
        except Failure as failure:
            return _said(failure)
        except Exception:
            traceback.print_exc()
            return _said(SystemTrouble())
        return {"text": outcome.text, "forwards": outcome.forwards}


def _said(failure: Failure) -> dict[str, object]:
    return {
        "status": failure.status,
        "reply": failure.reply,
        "text": failure.text,
        "detail": failure.detail,
    }


def _asked(deputy: _Deputy, said: bytes, patience: float) -> bytes | None:
    """Say an order and give the answer, torn where the deputy died; None: he took too long."""
    end, view, line = time.monotonic() + patience, memoryview(said), b""
    poll = select.poll()
    poll.register(deputy.orders, select.POLLOUT)
    poll.register(deputy.answers, select.POLLIN)
    while not line.endswith(b"\n"):
        left = end - time.monotonic()
        ready = dict(poll.poll(left * 1000)) if left > 0 else {}
        if not ready:
            return None
        if deputy.answers in ready:
            piece = os.read(deputy.answers, 65536)
            if not piece:
                break
            line += piece
        elif deputy.orders in ready:
            try:
                view = view[os.write(deputy.orders, view) :]
            except BrokenPipeError:
                break
            if not view:
                poll.unregister(deputy.orders)
    return line


def _end(deputy: _Deputy) -> str:
    os.close(deputy.orders)
    os.close(deputy.answers)
    watched = os.pidfd_open(deputy.pid)
    try:
        if not select.select([watched], [], [], END_MOST)[0]:
            os.kill(deputy.pid, signal.SIGKILL)
    finally:
        os.close(watched)
    _, status = os.waitpid(deputy.pid, 0)
    return f"wait status {status}"


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
