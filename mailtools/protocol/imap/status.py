"""STATUS (RFC 3501 6.3.10, RFC 7889, RFC 8438)."""

from mailtools.errors import BadSyntax
from mailtools.protocol.imap.values import Status
from mailtools.protocol.imap.wire import Cursor, mailbox

_ITEMS = frozenset(
    (
        *("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN"),
        *("SIZE", "DELETED", "APPENDLIMIT"),
    )
)


def take_status_items(cursor: Cursor) -> list[str]:
    """Take the list of what to tell."""
    cursor.expect(b"(")
    items = [_take_item(cursor)]
    while not cursor.accept(b")"):
        cursor.space()
        item = _take_item(cursor)
        if item not in items:
            items.append(item)
    return items


def _take_item(cursor: Cursor) -> str:
    item = cursor.keyword()
    if item not in _ITEMS:
        raise BadSyntax(f"Unknown status item {item[:40]}")
    return item


def write_status(name: str, items: list[str], status: Status, append_limit: int) -> bytes:
    """Write the STATUS response."""
    values = {
        "MESSAGES": status.messages,
        "RECENT": status.recent,
        "UIDNEXT": status.uidnext,
        "UIDVALIDITY": status.uidvalidity,
        "UNSEEN": status.unseen,
        "SIZE": status.size,
        "DELETED": status.deleted,
        "APPENDLIMIT": append_limit,
    }
    told = " ".join(f"{item} {values[item]}" for item in items)
    return b"* STATUS %b (%b)\r\n" % (mailbox(name), told.encode("ascii"))
