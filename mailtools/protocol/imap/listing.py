"""LIST and LSUB: patterns, and what is said of each mailbox (RFC 3501 6.3.8, RFC 5258, RFC 6154).

A name that only has mailboxes below it is shown too: as `\\Noselect`, since it is no mailbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mailtools.errors import BadSyntax
from mailtools.protocol.imap.status import take_status_items
from mailtools.protocol.imap.values import Folder
from mailtools.protocol.imap.wire import Cursor, mailbox, string

SEPARATOR = "."
PATTERN_MOST = 1000  # characters
PATTERNS_MOST = 50  # of one command


@dataclass(slots=True)
class Query:
    """A LIST or LSUB command."""

    reference: str = ""
    patterns: list[str] = field(default_factory=list)
    select: set[str] = field(default_factory=set)
    returns: set[str] = field(default_factory=set)
    status: list[str] = field(default_factory=list)
    extended: bool = False
    lsub: bool = False


def take_list(cursor: Cursor) -> Query:
    """Take the arguments of LIST (RFC 5258 6)."""
    query = Query()
    if cursor.peek() == b"(":
        query.extended = True
        query.select = set(_words(cursor, _SELECT))
        if query.select == {"RECURSIVEMATCH"}:
            raise BadSyntax("RECURSIVEMATCH needs something to match (RFC 5258 3)")
        cursor.space()
    query.reference = cursor.mailbox()
    cursor.space()
    if cursor.accept(b"("):
        query.extended = True
        query.patterns.append(cursor.pattern())
        while not cursor.accept(b")"):
            cursor.space()
            query.patterns.append(cursor.pattern())
            if len(query.patterns) > PATTERNS_MOST:
                raise BadSyntax("Too many patterns")
    else:
        query.patterns.append(cursor.pattern())
    if cursor.accept(b" "):
        query.extended = True
        if cursor.keyword() != "RETURN":
            raise BadSyntax("RETURN expected")
        cursor.space()
        query.returns = set(_words(cursor, _RETURN, query))
    cursor.end()
    return query


def take_lsub(cursor: Cursor) -> Query:
    """Take the arguments of LSUB."""
    query = Query(lsub=True, select={"SUBSCRIBED"})
    query.reference = cursor.mailbox()
    cursor.space()
    query.patterns.append(cursor.pattern())
    cursor.end()
    return query


_SELECT = frozenset(("SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"))
_RETURN = frozenset(("SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS"))


def _words(cursor: Cursor, known: frozenset[str], query: Query | None = None) -> Iterator[str]:
    cursor.expect(b"(")
    first = True
    while not cursor.accept(b")"):
        if not first:
            cursor.space()
        first = False
        word = cursor.keyword()
        if word not in known:
            raise BadSyntax(f"Unknown option {word[:40]}")
        if word == "STATUS" and query is not None:
            cursor.space()
            query.status = take_status_items(cursor)
        yield word


# -- patterns -------------------------------------------------------------------------------------


def matcher(reference: str, pattern: str) -> Callable[[str], bool]:
    """Give a test of names against a pattern: `%` stops at the separator, `*` does not."""
    whole = (reference + pattern)[:PATTERN_MOST]
    items: list[str] = []
    for letter in whole:
        # A run of wildcards is one: so each name is read once for each wildcard, whatever comes.
        if letter in "%*" and items and items[-1] in ("%", "*"):
            items[-1] = "*" if "*" in (letter, items[-1]) else "%"
        else:
            items.append(letter)
    exact = not any(item in ("%", "*") for item in items)
    folded = whole.upper()

    def matches(name: str) -> bool:
        if exact:
            return name == whole or (name == "INBOX" and folded == "INBOX")
        if name == "INBOX":  # its case does not matter (RFC 3501 5.1)
            return _matches([item.upper() for item in items], name)
        return _matches(items, name)

    return matches


def _matches(items: list[str], name: str) -> bool:
    """Walk the name with the set of places in the pattern that can be reached."""
    places = _skip(items, {0})
    for letter in name:
        following: set[int] = set()
        for place in places:
            if place == len(items):
                continue
            item = items[place]
            if item == "*" or (item == "%" and letter != SEPARATOR):
                following.add(place)
            elif item == letter and item not in ("%", "*"):
                following.add(place + 1)
        places = _skip(items, following)
        if not places:
            return False
    return len(items) in places


def _skip(items: list[str], places: set[int]) -> set[int]:
    """Add the places behind wildcards, which may stand for nothing."""
    return places | {n + 1 for n in places if n < len(items) and items[n] in ("%", "*")}


# -- answers --------------------------------------------------------------------------------------


def answer(query: Query, folders: Sequence[Folder]) -> Iterator[tuple[str, bytes, bool]]:
    """Give name, response, and whether STATUS makes sense, for each mailbox that matches."""
    tests = [matcher(query.reference, pattern) for pattern in query.patterns]
    word = b"LSUB" if query.lsub else b"LIST"
    known = {folder.name: folder for folder in folders}
    parents = _parents(folder.name for folder in folders if folder.exists)
    shown = dict(known)
    above: set[str] = set()  # names above subscribed ones, for LSUB and RECURSIVEMATCH
    if "SUBSCRIBED" in query.select:
        shown = {name: folder for name, folder in known.items() if folder.subscribed}
        if query.lsub or "RECURSIVEMATCH" in query.select:
            above = _parents(shown)
    else:
        shown = {name: folder for name, folder in known.items() if folder.exists}
        above = parents
    if "SPECIAL-USE" in query.select:
        shown = {name: folder for name, folder in shown.items() if folder.use}
        above = _parents(shown) if "RECURSIVEMATCH" in query.select else set()
    covered = {name for name in shown if any(test(name) for test in tests)}
    for name in sorted(shown.keys() | above, key=_inbox_first):
        if name not in covered and not any(test(name) for test in tests):
            continue
        if query.lsub and name not in shown and _below_matches(name, covered):
            continue  # RFC 3501 6.3.9: shown only where what is below it is not
        folder = known.get(name) or Folder(name, exists=False)
        attributes = _attributes(query, folder, name in shown, parents)
        info = b""
        if "RECURSIVEMATCH" in query.select and _is_above(name, shown, covered):
            info = b' ("CHILDINFO" ("SUBSCRIBED"))'
        line = b'* %b (%b) "%b" %b%b\r\n'
        values = (word, " ".join(attributes).encode(), SEPARATOR.encode(), mailbox(name), info)
        yield name, line % values, folder.exists


def _attributes(query: Query, folder: Folder, chosen: bool, parents: set[str]) -> list[str]:
    found: list[str] = []
    if query.lsub:
        return [] if chosen else ["\\Noselect"]
    if not folder.exists:
        found.append("\\NonExistent" if query.extended else "\\Noselect")
    found.append("\\HasChildren" if folder.name in parents else "\\HasNoChildren")
    wants_subscribed = "SUBSCRIBED" in query.select or "SUBSCRIBED" in query.returns
    if wants_subscribed and folder.subscribed:
        found.append("\\Subscribed")
    if folder.use:
        found.append(folder.use)
    return found


def _parents(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        above = name.rpartition(SEPARATOR)[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition(SEPARATOR)[0]
    return found


def _is_above(name: str, shown: Iterable[str], covered: set[str]) -> bool:
    """Whether a name below is asked for that the patterns do not cover (RFC 5258 3.5)."""
    start = name + SEPARATOR
    return any(other.startswith(start) and other not in covered for other in shown)


def _below_matches(name: str, covered: set[str]) -> bool:
    start = name + SEPARATOR
    return any(other.startswith(start) for other in covered)


def _inbox_first(name: str) -> tuple[bool, str]:
    return name != "INBOX", name


def hierarchy() -> bytes:
    """Answer LIST "" "": the separator (RFC 3501 6.3.8)."""
    return b'* LIST (\\Noselect) "%b" ""\r\n' % SEPARATOR.encode()


def namespaces() -> bytes:
    """Answer NAMESPACE: one, personal (RFC 2342 5)."""
    return b'* NAMESPACE (("" %b)) NIL NIL\r\n' % string(SEPARATOR.encode())
