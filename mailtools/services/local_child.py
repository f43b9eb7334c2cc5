"""Become somebody for one piece of work: in a child process where we are root, else in place.

The child gives up root for good before it looks at anything of the user's, and what it says comes
back as JSON, so that nothing a user could bring about in it runs in the parent.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mailtools.errors import Failure, SystemTrouble
from mailtools.services.become import become


@dataclass(slots=True)
class Outcome:
    """What a piece of work did: a text for the report, and addresses to send the message on to."""

    text: str = ""
    forwards: list[str] = field(default_factory=list)


def done_as(uid: int, gid: int, user: str, work: Callable[[], Outcome]) -> Outcome:
    """Do `work` as `uid`; raise what it raises. Without root it is done here and now."""
    if os.geteuid() != 0:
        return work()
    # Here and not in the child, which would load them each time, if its user may read them at all.
    import json
    import subprocess  # noqa: F401 (local_pipe.run)

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        try:
            said = _said(uid, gid, user, work)
            _write(write, json.dumps(said).encode())
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's is to be flushed or cleaned up twice
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status or not data:
        raise SystemTrouble(detail=f"delivery as uid {uid} died: wait status {status}")
    said = json.loads(data)
    if "status" in said:
        raise Failure(
            said["text"], detail=said["detail"], status=said["status"], reply=said["reply"]
        )
    return Outcome(said["text"], said["forwards"])


@contextmanager
def acting_as_owner(path: str) -> Iterator[None]:
    """Act as the owner of `path` where we are root, so that what is made there is his."""
    if os.geteuid() != 0:
        yield
        return
    about = os.stat(path)
    gid = os.getegid()
    os.setegid(about.st_gid)
    os.seteuid(about.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)


def _said(uid: int, gid: int, user: str, work: Callable[[], Outcome]) -> dict[str, object]:
    try:
        become(uid, gid, user)
        outcome = work()
    except Failure as failure:
        return {
            "status": failure.status,
            "reply": failure.reply,
            "text": failure.text,
            "detail": failure.detail,
        }
    except Exception:
        traceback.print_exc()
        return {"status": "4.3.0", "reply": 451, "text": SystemTrouble().text, "detail": ""}
    return {"text": outcome.text, "forwards": outcome.forwards}


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
