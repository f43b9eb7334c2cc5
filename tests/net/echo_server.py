"""A protocol for the tests of `net/serve.py`: greets with a word, echoes lines, `quit` ends."""

import os
import sys
from pathlib import Path

from mailtools.errors import Failure, Misconfigured, SystemTrouble
from mailtools.log import event
from mailtools.net import listener
from mailtools.net.serve import serve
from mailtools.net.session import Peer, Session
from mailtools.net.stream import Stream

word_file, limit, *listen = sys.argv[1:]


def setup() -> Session:
    word = Path(word_file).read_text().strip()
    if not word:
        raise Misconfigured(detail=f"{word_file}: is empty")

    def session(stream: Stream, peer: Peer) -> None:
        stream.write(f"{word} {peer} {os.getpid()}\n".encode())
        while True:
            data = stream.read(30)
            if data is None and stream.take_interrupt():
                data = b"the end is near\n"
            if not data or data.startswith(b"quit"):
                return
            if data.startswith(b"die"):
                os._exit(9)
            if data.startswith(b"raise"):
                raise ValueError("a bug")
            if data.startswith(b"pressed?"):
                data = b"yes\n" if stream.pressed() else b"no\n"
            stream.write(data)

    return session


def settle() -> None:
    if Path(word_file).read_text().strip() == "unsettled":
        raise SystemTrouble(detail="no owner")


def refuse(failure: Failure) -> bytes:
    return f"no {failure.status}\n".encode()


def stamp() -> object:
    return os.stat(word_file).st_mtime_ns if "LOOK" in os.environ else None


listener.LOOK = float(os.environ.get("LOOK", listener.LOOK))
try:
    serve(
        setup,
        listen=listen,
        limit=int(limit),
        refuse=refuse,
        note=event,
        settle=settle,
        stamp=stamp,
    )
except Failure as failure:
    sys.exit(failure.exit)
