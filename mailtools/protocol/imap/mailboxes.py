"""Commands about mailboxes as a whole (RFC 3501 6.3)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mailtools.errors import BadFolderName, BadSyntax, Failure, FolderExists
from mailtools.protocol.imap import listing
from mailtools.protocol.imap.commands import flags_lines
from mailtools.protocol.imap.status import take_status_items, write_status
from mailtools.protocol.imap.wire import Cursor, mailbox_name

if TYPE_CHECKING:
    from mailtools.protocol.imap.dialog import Answer, Dialog
    from mailtools.protocol.imap.session import Session


def _session(server: Dialog) -> Session:
    assert server.session is not None, "the table lets nobody here who is not logged in"
    return server.session


def _one_name(cursor: Cursor) -> str:
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    return name


def namespace(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 2342 5."""
    yield listing.namespaces()
    return "Namespace completed"


def select(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.3.1."""
    return _open(server, cursor, read_only=False)


def examine(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.3.2."""
    return _open(server, cursor, read_only=True)


def _open(server: Dialog, cursor: Cursor, *, read_only: bool) -> Answer:
    cursor.space()
    raw = cursor.astring()
    cursor.end()
    if server.view is not None:
        server.select(None)  # whatever becomes of this one (RFC 3501 6.3.1)
        yield b"* OK [CLOSED] The mailbox before is closed\r\n"
    name = mailbox_name(raw)
    view = _session(server).select(name, read_only=read_only)
    server.select(view)
    keywords = view.keywords
    if read_only:
        yield flags_lines(keywords).partition(b"* OK")[0]
        yield b"* OK [PERMANENTFLAGS ()] No flag can be changed\r\n"
    else:
        yield flags_lines(keywords)
    yield b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view.uids), view.recent)
    unseen = view.first_unseen()
    if unseen:
        yield b"* OK [UNSEEN %d] The first message that was not read\r\n" % unseen
    yield b"* OK [UIDVALIDITY %d] UIDs are valid\r\n" % view.uidvalidity
    yield b"* OK [UIDNEXT %d] The next UID\r\n" % view.uidnext
    return "[READ-ONLY] Examine completed" if read_only else "[READ-WRITE] Select completed"


def create(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.3.3: a separator at the end says only that more will come below."""
    name = _one_name(cursor).removesuffix(listing.SEPARATOR)
    if name == "INBOX":
        raise FolderExists("INBOX is there already")
    if not name:
        raise BadFolderName("A mailbox needs a name")
    _session(server).create(name)
    return "Create completed"


def delete(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.3.4."""
    name = _one_name(cursor)
    if name == "INBOX":
        raise BadFolderName("INBOX cannot be deleted")
    _session(server).delete(name)
    return "Delete completed"


def rename(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.3.5."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    target = cursor.mailbox()
    cursor.end()
    _session(server).rename(name, target.removesuffix(listing.SEPARATOR))
    return "Rename completed"


def subscribe(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.3.6."""
    _session(server).subscribe(_one_name(cursor), on=True)
    return "Subscribe completed"


def unsubscribe(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.3.7."""
    _session(server).subscribe(_one_name(cursor), on=False)
    return "Unsubscribe completed"


def list_(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.3.8, RFC 5258, RFC 5819."""
    cursor.space()
    query = listing.take_list(cursor)
    if query.patterns == [""] and not query.extended:
        yield listing.hierarchy()
        return "List completed"
    yield from _list(server, query)
    return "List completed"


def lsub(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.3.9."""
    cursor.space()
    query = listing.take_lsub(cursor)
    yield from _list(server, query)
    return "Lsub completed"


def _list(server: Dialog, query: listing.Query) -> Generator[bytes, None, None]:
    session = _session(server)
    for name, response, exists in listing.answer(query, session.folders()):
        yield response
        if query.status and exists:
            try:
                counted = session.status(name, size="SIZE" in query.status)
            except Failure:
                continue  # it has gone meanwhile, or cannot be read: RFC 5819 2 lets it out
            yield write_status(name, query.status, counted, session.append_limit)


def status(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.3.10."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = take_status_items(cursor)
    cursor.end()
    session = _session(server)
    counted = session.status(name, size="SIZE" in items)
    yield write_status(name, items, counted, session.append_limit)
    return "Status completed"


def append_without_message(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.3.11: one that has a message is taken before the table is asked."""
    raise BadSyntax("A message as literal expected")
