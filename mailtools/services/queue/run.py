"""The queue run: what is due goes to agents, and what they report into the journals.

One `selectors` loop: room and due work → assign; readable → reports. `once` is one pass; `wait`
stays and wakes when the trigger is pulled or a minute of wait/ has come. Stopping lets the agents
finish what they have in hand.
"""

import os
import random
import selectors
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from mailtools import log
from mailtools.errors import Failure
from mailtools.mail.report import DELAYED, Report
from mailtools.services.queue.agents import Pool
from mailtools.services.queue.attempt import Attempts
from mailtools.services.queue.lookout import GATHER, SHARE, Lookout
from mailtools.services.queue.notify import Notifier
from mailtools.services.queue.ownership import Ownership
from mailtools.services.queue.parking import Parking
from mailtools.services.queue.plan import Plan
from mailtools.services.queue.selection import Selection
from mailtools.services.queue.transports import LOCAL, PIPE, RELAY
from mailtools.services.queue.worker import Assignment, Worker
from mailtools.store.destinations import Destinations
from mailtools.store.entry import Place
from mailtools.store.history import History
from mailtools.store.kept import Kept
from mailtools.store.queue import Queue
from mailtools.store.queue_sweep import sweep

UNSTICK = 30.0  # seconds before what the disk refused is tried again
NO_ANSWER = frozenset(("4.4.1", "4.4.3", "4.4.4"))  # RFC 3463: no host, no directory, no route


class Run:
    """A queue run, the one that holds the queue's lock."""

    def __init__(
        self,
        queue: Queue,
        plan: Plan,
        reread: Callable[[], Plan],
        ownership: Ownership | None = None,
    ) -> None:
        """`reread` gives the plan afresh, for SIGHUP; it may raise a Failure."""
        self._ownership = ownership
        self._queue, self._plan, self._reread = queue, plan, reread
        self._attempts = Attempts(
            queue,
            Notifier(queue, plan.me, plan.postmaster),
            plan.schedule,
            plan.transports,
            random.random,
        )
        self._follow(plan)
        self._destinations = Destinations(f"{queue.path}/dest")
        self._history = History(f"{queue.path}/history")
        self._pools: dict[str, Pool] = {}
        self._selector = selectors.DefaultSelector()
        self._lookout = Lookout(queue, self._attempts)
        self._parking = Parking(
            queue.path, self._attempts, self._pools, self._destinations, self._busy
        )
        self._forgiven: set[str] = set()
        self._stopping = self._hangup = False
        self._next_unstick = self._heard = 0.0
        self._day = 0.0

    # -- the two ways -----------------------------------------------------------------------------

    def once(self, selection: Selection | None = None) -> bool:
        """Try what is due, or what was selected; return when all of it is settled or put off.

        False: the disk refused the end of some, which stay as they are.
        """
        self._open()
        self._sweep()
        lookout = self._lookout
        # A list: what is put off stands in a folder that is still to be looked into.
        chosen = iter(list(selection.places(self._queue)) if selection else ())
        more, lookout.wanted = bool(selection), not selection
        while not self._stopping:
            if selection:
                more = self._take_chosen(chosen, selection)
            else:
                lookout.go_on(self._take)
            self._turn()
            if more and not lookout.full:
                self._listen(0.0)
            elif more or lookout.looking or self._busy():
                self._listen(self._pause())
            elif not lookout.wanted or selection:
                self._listen(0.0)  # the trigger may have been pulled meanwhile, also by us
                if selection or not lookout.wanted:
                    break
        return self._close()

    def wait(self) -> bool:
        """Try what is due, and then what becomes due, until SIGTERM or SIGINT."""
        self._open()
        for command in (LOCAL, RELAY):
            self._start(self._pool(command))
        self._lookout.wanted = True
        while not self._stopping:
            self._sweep()
            self._lookout.go_on(self._take)
            self._turn()
            self._listen(self._pause())
            if self._hangup:
                self._reload()
        return self._close()

    # -- one turn ---------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._ownership and not self._ownership.keep():
            self._ownership, self._stopping = None, True
            return
        now = time.time()
        if self._attempts.stuck and time.monotonic() >= self._next_unstick:
            self._next_unstick = time.monotonic() + UNSTICK
            self._attempts.unstick(now)
        for pool in list(self._pools.values()):
            if pool.dealer.waiting:
                self._deal(pool)
            pool.kill_silent()
        for ids in self._parking.free(now):
            self._lookout.take_again(ids)
        self._attempts.flush(now)

    def _deal(self, pool: Pool) -> None:
        given = set()
        while worker := pool.with_room():
            assignment = pool.dealer.take()
            if assignment is None:
                break
            assignment.answers_before = pool.dealer.answers(assignment.destination)
            worker.assign(assignment)
            given.add(worker)
        for worker in given:
            worker.flush()
            if worker.writing:
                self._watch(pool, worker)
        if pool.dealer.waiting and pool.wants_agent():
            self._start(pool)
        if pool.ailing:
            text = "The delivery agent cannot be started"
            now = time.time()
            for assignment in pool.dealer.drain_all():
                self._unreported(assignment, text, now)

    def _listen(self, timeout: float) -> None:
        if timeout and self._lookout.busy:
            # Many reports at a time cost less than one by one; the turn was time to gather, too.
            time.sleep(max(0.0, GATHER - (time.monotonic() - self._heard)))
        found = self._selector.select(timeout)
        self._heard = time.monotonic()
        for key, events in found:
            if self._selector.get_map().get(key.fd) is not key:
                continue  # its agent was lost just now
            if key.data is None:
                self._hear(key.fd)
            else:
                pool, worker = key.data
                if events & selectors.EVENT_WRITE:
                    worker.flush()
                    self._watch(pool, worker)
                else:
                    self._receive(pool, worker)

    def _hear(self, fd: int) -> None:
        try:
            os.read(fd, 65536)
        except BlockingIOError:
            return
        self._lookout.wanted = True

    def _pause(self) -> float:
        if self._stopping:
            return 0.0
        pauses = [self._lookout.pause()]
        if self._ownership:
            pauses.append(self._ownership.pause)
        if self._attempts.stuck:
            pauses.append(self._next_unstick - time.monotonic())
        for pool in self._pools.values():
            if pool.dealer.waiting:
                pauses.append(pool.restart if pool.restart > 0 else pool.until_slow)
            if pool.dealer.waiting and pool.with_room():
                pauses.append(pool.dealer.pause)
        return max(min(pauses), 0.0)

    # -- the queue --------------------------------------------------------------------------------

    def _take(self, place: Place, now: float) -> None:
        if self._parking.stays(place):
            self._lookout.leave(place.id)
            return
        assignments = self._open_entry(place, now)
        if self._parking.leave(assignments, now):
            self._attempts.forget(place.id)
            self._lookout.leave(place.id)
            return
        for assignment in assignments:
            self._put(assignment, now)

    def _open_entry(self, place: Place, now: float, *, asked: bool = False) -> list[Assignment]:
        try:
            return self._attempts.take(place, now, asked=asked)
        except Failure as failure:
            log.event("trouble", id=place.id, detail=failure.detail or failure.text)
            self._lookout.avoid(place.id)
            return []

    def _put(self, assignment: Assignment, now: float) -> None:
        pool = self._pool(assignment.agent)
        silence = self._destinations.silent(assignment.destination, now)
        if silence:
            self._attempts.put_off(assignment, silence, now)
            return
        name, sender = assignment.destination, assignment.sender
        probing = self._destinations.failures(name) > 0
        pool.dealer.put(name, sender, assignment.priority, assignment, probing=probing)

    def _take_chosen(self, places: Iterator[Place], selection: Selection) -> bool:
        """Take the next share of what was chosen; tell whether there may be more."""
        now = time.time()
        for number, place in enumerate(places, 1):
            for assignment in self._open_entry(place, now, asked=bool(selection.ids)):
                if selection.narrow(assignment):
                    self._forgive(assignment.destination)
                    self._put(assignment, now)
                else:
                    self._attempts.give_back(assignment, now)
            if number == SHARE or self._lookout.full:
                return True
        return False

    def _forgive(self, destination: str) -> None:
        """Let a destination be tried though it did not answer: once, since it was asked for."""
        if destination not in self._forgiven:
            self._forgiven.add(destination)
            self._destinations.answered(destination)

    def _sweep(self) -> None:
        now = time.time()
        if now // 86400 == self._day:
            return
        self._day = now // 86400
        try:
            if self._history.begin_day(now):
                self._history.sweep(now, self._plan.history)
                Kept(self._queue).sweep(now)
                if self._plan.suppress:
                    self._attempts.suppressed.sweep(now - self._plan.suppress)
                for path in sweep(self._queue, now):
                    log.event("swept", path=path)
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)

    # -- agents -----------------------------------------------------------------------------------

    def _pool(self, command: str) -> Pool:
        pool = self._pools.get(command)
        if pool is None:
            words = shlex.split(command)
            name = os.path.basename(words[0])
            if name in (LOCAL, RELAY, PIPE) and "--jobs" not in words:
                words.insert(1, "--jobs")
            local = name == LOCAL
            count = self._plan.local_agents if local else self._plan.relay_agents
            # These two become whom they deliver for.
            user = (0, 0) if name in (LOCAL, PIPE) and self._plan.owner else self._plan.owner
            pool = self._pools[command] = Pool(words, count, user, self._plan.limits)
        return pool

    def _start(self, pool: Pool) -> None:
        worker = pool.start()
        if worker:
            self._selector.register(worker.stdout, selectors.EVENT_READ, (pool, worker))

    def _watch(self, pool: Pool, worker: Worker) -> None:
        """Wait for room in a pipe while job lines wait for it."""
        watched = worker.stdin in self._selector.get_map()
        if worker.writing and not watched:
            self._selector.register(worker.stdin, selectors.EVENT_WRITE, (pool, worker))
        elif watched and not worker.writing:
            self._selector.unregister(worker.stdin)

    def _receive(self, pool: Pool, worker: Worker) -> None:
        found = worker.receive()
        now = time.time()
        if found is None:
            if worker.stdin in self._selector.get_map():
                self._selector.unregister(worker.stdin)
            self._selector.unregister(worker.stdout)
            for assignment in pool.lost(worker):
                self._unreported(assignment, "The delivery agent died", now)
                pool.dealer.done(assignment.destination, True)
            return
        for assignment, report, over in found:
            self._attempts.reported(assignment.id, report, now)
            self._attempts.learn(assignment, report, now)
            answered = report.status not in NO_ANSWER or report.action != DELAYED
            if not answered:
                self._no_answer(pool, assignment, report, now)
            if over:
                if answered:
                    self._destinations.answered(assignment.destination)
                pool.dealer.done(assignment.destination, answered)
                self._attempts.over(assignment.id, now)

    def _no_answer(self, pool: Pool, assignment: Assignment, report: Report, now: float) -> None:
        name = assignment.destination
        if pool.dealer.answers(name) > assignment.answers_before:
            return  # it has answered others meanwhile
        schedule = self._plan.classes.find(self._plan.schedule, name)
        silence = self._destinations.silent(name, now)
        if silence is None:
            back_off = schedule.retry_first * 2 ** min(self._destinations.failures(name), 20)
            until = now + min(back_off, schedule.retry_most)
            self._destinations.failed(name, until, report.status, report.text)
            silence = self._destinations.silent(name, now)
        if silence:
            self._attempts.leave_alone(assignment, report.forward_path, silence.until)
            for waiting in pool.dealer.drain(name):
                self._attempts.put_off(waiting, silence, now)

    def _unreported(self, assignment: Assignment, text: str, now: float) -> None:
        for path in assignment.forward_paths:
            if path in assignment.missing:
                self._attempts.reported(assignment.id, Report(path, DELAYED, "4.3.0", text), now)
        self._attempts.over(assignment.id, now)

    def _busy(self) -> bool:
        return any(pool.busy or pool.dealer.waiting for pool in self._pools.values())

    # -- signals, the trigger, the end ------------------------------------------------------------

    def _open(self) -> None:
        path = f"{self._queue.path}/trigger"
        self._trigger = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # A writing end of our own: otherwise the last writer's leaving reads as end of file.
        self._trigger_writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._trigger, selectors.EVENT_READ, None)
        woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(woken, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._hangup = True
        else:
            self._stopping = True

    def _reload(self) -> None:
        self._hangup = False
        try:
            plan = self._reread()
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)
            return
        self._plan = plan
        self._attempts.schedule, self._attempts.transports = plan.schedule, plan.transports
        self._follow(plan)
        self._attempts.notifier = Notifier(self._queue, plan.me, plan.postmaster)
        self._destinations.forget()
        for command, pool in self._pools.items():
            local = os.path.basename(shlex.split(command)[0]) == LOCAL
            pool.count = plan.local_agents if local else plan.relay_agents
            pool.dealer.obey(plan.limits)
            for worker in pool.workers:
                worker.finish()  # its successor reads the control files afresh
        log.event("reread")

    def _follow(self, plan: Plan) -> None:
        self._attempts.rules, self._attempts.suppress = plan.rules, plan.suppress
        self._attempts.classes = plan.classes
        self._attempts.keep_failed = plan.keep_failed
        self._attempts.keep_delivered = plan.keep_delivered

    def _close(self) -> bool:
        """Let agents finish what they have, and take back what none of them has."""
        now = time.time()
        for pool in self._pools.values():
            for assignment in pool.dealer.drain_all():
                self._attempts.give_back(assignment, now)
            for worker in pool.workers:
                worker.finish()
        while any(pool.workers for pool in self._pools.values()):
            self._attempts.flush(time.time())
            if self._ownership and not self._ownership.keep():
                self._ownership = None
            self._listen(self._ownership.pause if self._ownership else 60.0)
        self._attempts.unstick(time.time())
        self._attempts.flush(time.time())
        return not self._attempts.stuck
