"""Commands about messages of the selected mailbox (RFC 3501 6.4, RFC 4315, RFC 6851, RFC 4731)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from mailtools.errors import BadSyntax, ConnectionDied, Failure, NoSuchFolder, NoSuchMessage
from mailtools.protocol.imap.fetch import (
    Fetched,
    Item,
    brief,
    prepare,
    respond,
    take_items,
    with_flags,
)
from mailtools.protocol.imap.flags import take_flags
from mailtools.protocol.imap.responses import No
from mailtools.protocol.imap.search_grammar import take_returns, take_search
from mailtools.protocol.imap.search_keys import All, Among, Any, Key, Named, Not
from mailtools.protocol.imap.sequence import Numbers, take_numbers, write_numbers
from mailtools.protocol.imap.values import Copied
from mailtools.protocol.imap.wire import Cursor, string

if TYPE_CHECKING:
    from mailtools.protocol.imap.dialog import Answer, Dialog
    from mailtools.protocol.imap.session import View


def _gone() -> No:
    return No("Some of the messages are gone", code="EXPUNGEISSUED")


def _view(server: Dialog) -> View:
    assert server.view is not None, "the table lets nobody here without a mailbox"
    return server.view


def _chosen(server: Dialog, numbers: Numbers, *, uid: bool, strict: bool = True) -> list[int]:
    """Give the UIDs that a sequence set names; BadSyntax for numbers of no message if `strict`."""
    uids = _view(server).uids
    if numbers.saved:
        return [known for known in server.saved if _number(uids, known)]
    if uid:
        return numbers.among(uids)
    if strict and not numbers.within(len(uids)):
        if not uids and all(0 in pair for pair in numbers.ranges):
            return []  # 1:* of an empty mailbox
        raise BadSyntax(f"There are {len(uids)} messages")
    return [uids[number - 1] for number in numbers.among(range(1, len(uids) + 1))]


def _number(uids: Sequence[int], uid: int) -> int:
    """The number of a UID, 0 where there is none."""
    place = bisect_left(uids, uid)
    return place + 1 if place < len(uids) and uids[place] == uid else 0


def _writable(server: Dialog) -> View:
    view = _view(server)
    if view.read_only:
        raise No("The mailbox is open for reading only", code="READ-ONLY")
    return view


# -- the mailbox ----------------------------------------------------------------------------------


def check(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.4.1: everything that was promised is on disk already."""
    return "Check completed"


def close(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.4.2: expunge, and say nothing of it."""
    view = _view(server)
    if not view.read_only:
        view.expunge(None)
    server.select(None)
    return "Close completed"


def unselect(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3691."""
    server.select(None)
    return "Unselect completed"


def expunge(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.4.3."""
    _writable(server).expunge(None)
    return "Expunge completed"


def uid_expunge(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 4315 2.1."""
    cursor.space()
    numbers = take_numbers(cursor)
    cursor.end()
    _writable(server).expunge(_chosen(server, numbers, uid=True))
    return "Expunge completed"


# -- FETCH ----------------------------------------------------------------------------------------


def fetch(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.4.5."""
    return _fetch(server, cursor, uid=False)


def uid_fetch(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.4.8."""
    return _fetch(server, cursor, uid=True)


def _fetch(server: Dialog, cursor: Cursor, *, uid: bool) -> Answer:
    cursor.space()
    numbers = take_numbers(cursor)
    cursor.space()
    items = prepare(take_items(cursor), uid=uid)
    cursor.end()
    view = _view(server)
    chosen = _numbered(view.uids, _chosen(server, numbers, uid=uid))
    makers = brief(items)
    missing = False
    for number, one in chosen:
        try:
            if makers is None:
                yield from _fetch_one(server, view, number, one, items)
            else:
                message = view.message(one)
                made = b" ".join([make(message) for make in makers])
                yield b"* %d FETCH (%b)\r\n" % (number, made)
        except NoSuchMessage:
            missing = True
    if missing:
        raise _gone()
    return "Fetch completed"


def _numbered(uids: Sequence[int], chosen: list[int]) -> Iterator[tuple[int, int]]:
    """Give number and UID; most often one follows the other."""
    number = 0
    for uid in chosen:
        if number >= len(uids) or uids[number] != uid:
            number = _number(uids, uid) - 1
        number += 1
        yield number, uid


def _fetch_one(
    server: Dialog, view: View, number: int, uid: int, items: list[Item]
) -> Iterator[bytes]:
    message = view.message(uid)
    try:
        sets_seen = not view.read_only and any(item.sets_seen for item in items)
        if sets_seen and "\\Seen" not in message.flags:
            if view.store((uid,), "+", ("\\Seen",), durable=False):
                raise NoSuchMessage
            message = view.message(uid)
            items = with_flags(items)
        yield from _whole(respond(number, items, Fetched(message, server.cache)))
    finally:
        message.release()


def _whole(response: Iterator[bytes]) -> Iterator[bytes]:
    """Let nothing else be said within a response: one that cannot be ended ends the session."""
    begun = False
    try:
        for piece in response:
            yield piece
            begun = True
    except Failure as failure:
        if begun:
            raise ConnectionDied("A message became unreadable", detail=failure.detail) from failure
        raise


# -- STORE ----------------------------------------------------------------------------------------


def store(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.4.6."""
    return _store(server, cursor, uid=False)


def uid_store(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.4.8."""
    return _store(server, cursor, uid=True)


_HOW: dict[str, Literal["+", "-", "="]] = {"FLAGS": "=", "+FLAGS": "+", "-FLAGS": "-"}


def _store(server: Dialog, cursor: Cursor, *, uid: bool) -> Answer:
    cursor.space()
    numbers = take_numbers(cursor)
    cursor.space()
    word = cursor.word()
    how = _HOW.get(word.removesuffix(".SILENT"))
    if how is None:
        raise BadSyntax("FLAGS, +FLAGS or -FLAGS expected")
    cursor.space()
    flags = take_flags(cursor)
    cursor.end()
    view = _writable(server)
    chosen = _chosen(server, numbers, uid=uid)
    before = view.keywords
    gone = set(view.store(chosen, how, flags))
    if view.keywords != before:
        yield from server.news(expunges=False)
    if not word.endswith(".SILENT"):
        for one in chosen:
            if one not in gone:
                shown = " ".join(view.message(one).flags)
                head = f"* {_number(view.uids, one)} FETCH ({f'UID {one} ' if uid else ''}"
                yield f"{head}FLAGS ({shown}))\r\n".encode()
    if gone:
        raise _gone()
    return "Store completed"


# -- COPY and MOVE --------------------------------------------------------------------------------


def copy(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.4.7."""
    return _copy(server, cursor, uid=False)


def uid_copy(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.4.8."""
    return _copy(server, cursor, uid=True)


def move(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 6851 3.1."""
    return _move(server, cursor, uid=False)


def uid_move(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 6851 3.2."""
    return _move(server, cursor, uid=True)


def _take_target(server: Dialog, cursor: Cursor, *, uid: bool) -> tuple[list[int], str]:
    cursor.space()
    numbers = take_numbers(cursor)
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    return _chosen(server, numbers, uid=uid), name


def _copy(server: Dialog, cursor: Cursor, *, uid: bool) -> str:
    chosen, name = _take_target(server, cursor, uid=uid)
    if not chosen:
        return "No messages to copy"
    copied = _placed(_view(server).copy, chosen, name)
    return f"{_copy_code(copied)}Copy completed"


def _move(server: Dialog, cursor: Cursor, *, uid: bool) -> Answer:
    chosen, name = _take_target(server, cursor, uid=uid)
    if not chosen:
        return "No messages to move"
    moved = _placed(_writable(server).move, chosen, name)
    yield f"* OK {_copy_code(moved)}Moved\r\n".encode()  # RFC 6851 4.3: before the EXPUNGEs
    yield from server.news(expunges=True)
    if moved.missing:
        raise _gone()
    return "Move completed"


def _placed(place: Callable[[Sequence[int], str], Copied], chosen: list[int], name: str) -> Copied:
    try:
        return place(chosen, name)
    except NoSuchFolder as failure:
        raise No(failure.text, code="TRYCREATE") from failure
    except NoSuchMessage:
        raise _gone() from None


def _copy_code(copied: Copied) -> str:
    if not copied.sources or 0 in copied.targets:  # one is gone again, or has no UID yet
        return ""
    sources, targets = write_numbers(copied.sources), write_numbers(copied.targets)
    return f"[COPYUID {copied.uidvalidity} {sources.decode()} {targets.decode()}] "


# -- SEARCH ---------------------------------------------------------------------------------------


def search(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.4.4."""
    return _search(server, tag, cursor, uid=False)


def uid_search(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.4.8."""
    return _search(server, tag, cursor, uid=True)


def _search(server: Dialog, tag: bytes, cursor: Cursor, *, uid: bool) -> Answer:
    cursor.space()
    returns = take_returns(cursor)
    view = _view(server)
    try:
        key = _settled(server, take_search(cursor))
        uids = view.search(key)
    except No:
        if returns and "SAVE" in returns:
            server.saved = []  # RFC 5182 2.1
        raise
    found = uids if uid else [_number(view.uids, one) for one in uids]
    if returns is None:
        yield b"* SEARCH" + "".join(f" {number}" for number in found).encode() + b"\r\n"
        return "Search completed"
    if "SAVE" in returns:
        server.saved = _to_save(uids, returns)
    if returns != {"SAVE"}:
        yield _esearch(tag, found, returns, uid=uid)
    return "Search completed"


def _to_save(uids: list[int], returns: set[str]) -> list[int]:
    """RFC 5182 2.4: with MIN or MAX and neither ALL nor COUNT, only those are saved."""
    if not uids or returns & {"ALL", "COUNT"} or not returns & {"MIN", "MAX"}:
        return uids
    ends = [uids[0]] if "MIN" in returns else []
    return sorted({*ends, uids[-1]}) if "MAX" in returns else ends


def _esearch(tag: bytes, found: list[int], returns: set[str], *, uid: bool) -> bytes:
    parts = [b"* ESEARCH (TAG " + string(tag) + b")"]
    if uid:
        parts.append(b"UID")
    if found and "MIN" in returns:
        parts.append(b"MIN %d" % found[0])
    if found and "MAX" in returns:
        parts.append(b"MAX %d" % found[-1])
    if "COUNT" in returns:
        parts.append(b"COUNT %d" % len(found))
    if found and "ALL" in returns:
        parts.append(b"ALL " + write_numbers(found))
    return b" ".join(parts) + b"\r\n"


def _settled(server: Dialog, key: Key) -> Key:
    """Replace numbers, and `$`, by the UIDs they mean to this client."""
    match key:
        case All(keys):
            return All(tuple(_settled(server, one) for one in keys))
        case Any(keys):
            return Any(tuple(_settled(server, one) for one in keys))
        case Not(one):
            return Not(_settled(server, one))
        case Named(numbers, uid):
            return Among(frozenset(_chosen(server, numbers, uid=uid, strict=False)))
    return key
