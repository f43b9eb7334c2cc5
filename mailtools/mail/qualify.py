"""Addresses without a domain in header fields get one (RFC 6409 8.2); no other byte changes."""

import re

_token = re.compile(
    rb'"(?:[^"\\]|\\.)*"?'  # a quoted string
    rb"|\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\)?"  # a comment, with one inside at most
    rb"|\[[^\[\]]*\]"  # a domain literal
    rb"|[ \t\r\n]+"
    rb'|[^ \t\r\n"()<>\[\]@,:;]+'  # words and dots
    rb"|.",
    re.DOTALL,
)
_SPACE_AND_COMMENTS = b" \t\r\n("


def qualify(body: bytes, domain: bytes) -> bytes:
    """Put `@domain` behind each address of a list that has none: `bob`, `Bob <bob>`, in groups too.

    A phrase of several words that stands alone is no address and stays as it is. A line end may
    stand behind the list: it is no part of a quote or comment that does not end.
    """
    end = len(body.rstrip(b"\r\n"))
    places: list[int] = []
    item = _Item()
    for match in _token.finditer(body, 0, end):
        token = match[0]
        if token[:1] in _SPACE_AND_COMMENTS:
            continue
        if token == b"<":
            item = _Item(angle=True)
        elif token == b">" and item.angle:
            if item.words and not item.at:
                places.append(item.end)
            item = _Item(done=True)
        elif token in (b",", b";", b":") and not item.angle:
            if token != b":" and item.is_lonely_word:
                places.append(item.end)
            item = _Item()
        elif token == b"@":
            item.at = True
        else:
            item.words += 1
            item.end = match.end()
    if item.is_lonely_word:
        places.append(item.end)
    parts, start = [], 0
    for place in places:
        parts.append(body[start:place])
        start = place
    parts.append(body[start:])
    return (b"@" + domain).join(parts)


class _Item:
    """What was seen of one address of a list."""

    __slots__ = ("angle", "at", "done", "end", "words")

    def __init__(self, *, angle: bool = False, done: bool = False) -> None:
        self.angle, self.done = angle, done
        self.at = False
        self.words = 0
        self.end = 0

    @property
    def is_lonely_word(self) -> bool:
        return self.words == 1 and not (self.angle or self.at or self.done)
