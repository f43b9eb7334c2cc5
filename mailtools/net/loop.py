"""One loop for many connections: descriptors, deadlines, look-ups in threads, tasks as generators.

A task is a generator that yields a Later where it has to wait and receives its value; nothing else
runs between two yields, so tasks need no locks. This is for the one program with hundreds of slow
peers (relay-send); the servers give a process to each session instead.
"""

from __future__ import annotations

import os
import queue
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
TICK = 0.25  # seconds between two looks at the deadlines
THREADS = 32  # for what blocks: DNS, token programs, large messages


class Later(Generic[T]):
    """A value that is not there yet."""

    __slots__ = ("_callback", "error", "there", "value")

    def __init__(self) -> None:
        """Begin without a value."""
        self.there = False
        """Whether it has its value, or an error."""
        self.value: T | None = None
        self.error: BaseException | None = None
        self._callback: Callable[[], None] | None = None

    def put(self, value: T) -> None:
        """Give it its value; only the first counts."""
        self._set(value, None)

    def fail(self, error: BaseException) -> None:
        """Make it raise."""
        self._set(None, error)

    def _set(self, value: T | None, error: BaseException | None) -> None:
        if self.there:
            return
        self.there, self.value, self.error = True, value, error
        callback, self._callback = self._callback, None
        if callback:
            callback()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when it is there."""
        if self.there:
            callback()
        else:
            self._callback = callback


Task = Generator[Later[Any], Any, T]


class _Running:
    """A task, and what it waits for."""

    __slots__ = ("_task", "_waiting")

    def __init__(self, task: Task[None]) -> None:
        self._task = task
        self._waiting: Later[Any] | None = None

    def step(self) -> None:
        """Go on until the task has to wait."""
        waiting = self._waiting
        while True:
            try:
                if waiting is None:
                    waiting = next(self._task)
                elif waiting.error is not None:
                    waiting = self._task.throw(waiting.error)
                else:
                    waiting = self._task.send(waiting.value)
            except StopIteration:
                return
            if not waiting.there:
                self._waiting = waiting
                waiting.then(self.step)
                return


class Timed(Protocol):
    """What has a deadline."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed."""


class Loop:
    """Waits for descriptors, deadlines and threads, and calls back."""

    def __init__(self, threads: int = THREADS) -> None:
        """Open the loop; it has up to `threads` for what blocks."""
        self._threads_most = threads
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._soon: deque[Callable[[], None]] = deque()
        self._timed: set[Timed] = set()
        self._next_tick = 0.0
        self._work: queue.SimpleQueue[tuple[Later[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._threads = 0
        self._at_work = 0
        self._done: deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch(self._wake_read, READ, self._woken)

    def close(self) -> None:
        """Release the descriptors."""
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- descriptors and deadlines ----------------------------------------------------------------

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the events that came on a descriptor."""
        try:
            self._selector.register(fd, events, callback)
        except PermissionError:  # epoll(7) takes no plain file, nor /dev/null
            self._poll_instead()
            self._selector.register(fd, events, callback)

    def _poll_instead(self) -> None:
        """Go on with poll(2), to which a plain file is always ready."""
        watched = list(self._selector.get_map().values())
        self._selector.close()
        self._selector = selectors.PollSelector()
        for key in watched:
            self._selector.register(key.fd, key.events, key.data)

    def change(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Watch a descriptor for something else."""
        self._selector.modify(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor."""
        self._selector.unregister(fd)

    def time(self, timed: Timed) -> None:
        """Watch over a deadline (seconds of time.monotonic) that may move at any time."""
        self._timed.add(timed)

    def untime(self, timed: Timed) -> None:
        """Forget a deadline."""
        self._timed.discard(timed)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next round."""
        self._soon.append(callback)

    # -- tasks and threads ------------------------------------------------------------------------

    def spawn(self, task: Task[None]) -> None:
        """Run a task; what it raises comes out of `turn`."""
        _Running(task).step()

    def in_thread(self, function: Callable[[], T]) -> Later[T]:
        """Run what blocks in a thread; the value comes in the loop's own thread."""
        later: Later[T] = Later()
        self._at_work += 1
        self._work.put((later, function))
        if self._at_work > self._threads and self._threads < self._threads_most:
            self._threads += 1
            threading.Thread(target=self._worker, daemon=True).start()
        return later

    def _worker(self) -> None:
        while True:
            later, function = self._work.get()
            try:
                value = function()
            except BaseException as error:
                self._finish(lambda later=later, error=error: later.fail(error))  # type: ignore[misc]
            else:
                self._finish(lambda later=later, value=value: later.put(value))  # type: ignore[misc]

    def wake(self) -> None:
        """Make `turn` return soon; for other threads and signal handlers."""
        try:
            os.write(self._wake_write, b"!")
        except OSError:
            pass  # full: the loop will wake all the same; closed: nobody waits

    def _finish(self, callback: Callable[[], None]) -> None:
        self._done.append(callback)
        self.wake()

    def _woken(self, _: int) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        while self._done:
            self._at_work -= 1
            self._done.popleft()()

    # -- running ----------------------------------------------------------------------------------

    def turn(self) -> None:
        """Wait for something to happen, and see to all that did."""
        wait = max(0.0, self._next_tick - time.monotonic()) if self._timed else None
        if self._soon:
            wait = 0.0  # what happens now may be what the caller waits for
        for _ in range(len(self._soon)):  # what these ask for comes after the descriptors
            self._soon.popleft()()
        for key, events in self._selector.select(wait):
            key.data(events)
        now = time.monotonic()
        if self._timed and now >= self._next_tick:
            self._next_tick = now + TICK
            for timed in [timed for timed in self._timed if timed.deadline <= now]:
                timed.expired()

    def run_until(self, over: Callable[[], bool]) -> None:
        """Turn until `over` says so."""
        while not over():
            self.turn()
