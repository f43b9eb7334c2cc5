"""The fields of DKIM2, read: Message-Instance and DKIM2-Signature (sections 7 and 8; see dkim2.py).

Both are tag lists whose names are of any case. What is wrong with them is said in the draft's
words (section 11.2), which name the field: `Message-Instance m=2 syntax error`.
"""

import base64
import re
from collections.abc import Sequence
from typing import NamedTuple

from mailtools.errors import BadAddress
from mailtools.mail.address import Address, ascii_domain, parse_path
from mailtools.mail.fields import Field, Header, listed
from mailtools.trust.dkim2_recipe import Recipe, read_recipe
from mailtools.trust.dkim_record import field_tags, read_domain
from mailtools.trust.keys import KeyKind, unbase64
from mailtools.trust.tags import BadRecord

FIELDS_MOST = 20  # of each kind, in one message: ours, the draft leaves it open
INSTANCES_MOST = 1 << 19  # octets of all Message-Instance fields, which hold the recipes: ours
SETS_MOST = 8  # signatures or hashes one field may list: ours
SAME_MOST = 2  # signatures of one algorithm, section 8.9

INSTANCE, SIGNATURE = b"message-instance", b"dkim2-signature"
ALGORITHMS: dict[str, KeyKind] = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
HASHES = ("sha256", "sha512")

_number = re.compile(r"0*[1-9][0-9]{0,8}\Z")
_time = re.compile(r"[0-9]{1,15}\Z")  # section 8.4 wants at least 10^12
_word = re.compile(r"[A-Za-z0-9_-]+\Z")  # textstring, section 2.14
_nonce = re.compile(r"[!-:<-~]{0,64}\Z")  # section 8.3
_blanks = b" \t\n"


class BadField(Exception):
    """These fields prove nothing: a PERMERROR, and why, in the words of section 11.2."""

    def __init__(self, problem: str, signature: int = 0) -> None:
        """Say why, and of which signature (0: of none)."""
        super().__init__(problem)
        self.problem = problem
        self.signature = signature


class HashSet(NamedTuple):
    """The two hashes of a message by one algorithm (section 7.3)."""

    algorithm: str
    header: bytes
    body: bytes


class Instance(NamedTuple):
    """A Message-Instance field: how the message was at one time (section 7)."""

    number: int
    hashes: tuple[tuple[HashSet, ...], ...]
    """Groups, of which one suffices; all of a group must hold."""
    recipe: Recipe
    """What gives the instance before it."""
    covered: bytes
    """As signatures cover it."""


class Made(NamedTuple):
    """One signature of a field: where its key is, and its value (section 8.9)."""

    selector: str
    algorithm: str
    value: bytes


class Signature(NamedTuple):
    """A DKIM2-Signature field: who sent the message on, and in which envelope (section 8)."""

    number: int
    instance: int
    """m=: how the message was then."""
    time: int
    """t=, seconds since 1970."""
    domain: str
    """d=, with A-labels, lower case."""
    reverse_path: Address | None
    """mf=, its domain as `domain`; None for the null one, and where `next` stands instead."""
    forward_paths: tuple[Address, ...]
    next: str
    """nd=: who signs next; "" where there is an envelope."""
    signatures: tuple[tuple[Made, ...], ...]
    """Groups, of which one suffices; all of a group must hold."""
    flags: frozenset[str]
    covered: bytes
    """As later signatures cover it."""
    unsigned: bytes
    """As its own signatures cover it: without their values."""


class Fields(NamedTuple):
    """All DKIM2 fields of a message, each kind in its order from 1."""

    instances: tuple[Instance, ...]
    signatures: tuple[Signature, ...]


def read_fields(header: Header) -> Fields:
    """Read the DKIM2 fields of a header, where it has any; raise BadField (section 11.2)."""
    instances = [field for field in listed(header) if field.key == INSTANCE]
    signatures = [field for field in listed(header) if field.key == SIGNATURE]
    if not instances and not signatures:
        return Fields((), ())
    if max(len(instances), len(signatures)) > FIELDS_MOST:
        raise BadField(f"more than {FIELDS_MOST} fields of a kind; not looked at")
    if sum(len(field.raw) for field in instances) > INSTANCES_MOST:
        raise BadField(f"Message-Instance fields of more than {INSTANCES_MOST} octets")
    read = Fields(
        tuple(sorted(map(_instance, instances), key=lambda each: each.number)),
        tuple(sorted(map(_signature, signatures), key=lambda each: each.number)),
    )
    _require_all([each.number for each in read.signatures], "DKIM2-Signature i=")
    _require_all([each.number for each in read.instances], "Message-Instance m=")
    highest = 0
    for each in read.signatures:
        if each.instance > len(instances):
            raise BadField(f"Message-Instance m={each.instance} missing", each.number)
        if each.instance < highest:  # an instance that was there once does not go
            raise BadField(f"DKIM2-Signature i={each.number} m= goes back", each.number)
        highest = each.instance
    if highest < len(instances):
        raise BadField(f"Message-Instance m={len(instances)} is not signed")
    return read


def _require_all(numbers: Sequence[int], name: str) -> None:
    """Raise BadField unless the numbers are 1, 2, 3, … (sections 7.1, 8.1)."""
    for wanted, number in enumerate([*numbers] or [2], 1):
        if number < wanted:
            raise BadField(f"{name}{number} appears more than once")
        if number > wanted:
            raise BadField(f"{name}{wanted} missing")


class _Tags:
    """The tags of one field, by lower-case name; each wrong one is a BadField that names it."""

    def __init__(self, field: Field, name: str, ordinal: str) -> None:
        self.signature = 0
        self.name = f"{name} {ordinal}=?"
        try:
            read = field_tags(field)
            self.tags = {tag.lower(): value for tag, value in read.items()}
        except BadRecord:
            raise self.wrong() from None
        number = self.tags.get(ordinal, "")
        if _number.match(number):
            self.name = f"{name} {ordinal}={int(number)}"
            self.signature = int(number) if ordinal == "i" else 0
        if len(self.tags) != len(read):
            raise self.wrong()

    def wrong(self, problem: str = "syntax error") -> BadField:
        return BadField(f"{self.name} {problem}", self.signature)

    def want(self, *names: str) -> None:
        for name in names:
            if name not in self.tags:
                raise self.wrong(f"tag={name} missing")

    def unwanted(self, *names: str) -> None:
        for name in names:
            if name in self.tags:
                raise self.wrong(f"tag={name} was unexpected")

    def number(self, name: str, pattern: re.Pattern[str] = _number) -> int:
        if not pattern.match(self.tags[name]):
            raise self.wrong()
        return int(self.tags[name])

    def domain(self, name: str) -> str:
        return self.domain_in(self.tags[name])

    def domain_in(self, text: str) -> str:
        try:
            return read_domain({"": text}, "")
        except BadRecord:
            raise self.wrong() from None

    def base64(self, text: str) -> bytes:
        """Decode a base64string (section 2.14): blanks anywhere, padded, with no bits left over."""
        try:
            value = unbase64(text)
        except BadRecord:
            raise self.wrong() from None
        if not value or base64.b64encode(value).decode("ascii") != "".join(text.split()):
            raise self.wrong()
        return value

    def path(self, text: str) -> Address | None:
        try:
            path = parse_path(self.base64(text).decode("utf-8"))
            return path and path._replace(domain=ascii_domain(path.domain))
        except (BadAddress, UnicodeDecodeError):
            raise self.wrong() from None

    def groups(self, name: str, algorithm: int) -> list[list[tuple[str, str, str]]]:
        """Split `a:b:c,d:e:f|g:h:i`: groups of sets of three, one of which names an algorithm.

        A comma joins what must hold together. The bar between groups, of which one suffices, came
        with revision 08.
        """
        groups = []
        for group in self.tags[name].split("|"):
            sets = [tuple(part.strip() for part in one.split(":")) for one in group.split(",")]
            if any(len(one) != 3 or not _word.match(one[algorithm]) for one in sets):
                raise self.wrong()
            groups.append([(one[0], one[1], one[2]) for one in sets])
        if sum(map(len, groups)) > SETS_MOST:
            raise self.wrong(f"tag={name} lists more than {SETS_MOST}")
        return groups


def _instance(field: Field) -> Instance:
    tags = _Tags(field, "Message-Instance", "m")
    tags.want("m", "h")
    number, groups = tags.number("m"), []
    for group in tags.groups("h", 0):
        groups.append(tuple(HashSet(n, tags.base64(h), tags.base64(b)) for n, h, b in group))
    names = [each.algorithm for group in groups for each in group]
    if len(set(names)) < len(names):
        raise tags.wrong("has a duplicate hash algorithm")
    if not set(names) & set(HASHES):
        raise tags.wrong("has no hash algorithm that is known")
    recipe = Recipe()
    if "r" in tags.tags:
        try:
            recipe = read_recipe(tags.base64(tags.tags["r"]))
        except BadRecord:
            raise tags.wrong("contains invalid JSON") from None
    return Instance(number, tuple(groups), recipe, _covered(field))


def _signature(field: Field) -> Signature:
    tags = _Tags(field, "DKIM2-Signature", "i")
    tags.want("i", "m", "t", "d", "s")
    envelope = "nd" not in tags.tags
    if envelope:
        tags.want("mf", "rt")
    else:
        tags.unwanted("mf", "rt")
    paths = [tags.path(each) for each in tags.tags["rt"].split(",")] if envelope else []
    forward_paths = tuple(path for path in paths if path is not None)
    flags = [flag.strip() for flag in tags.tags["f"].split(",")] if "f" in tags.tags else []
    nonce = _nonce.match(tags.tags.get("n", ""))
    if len(forward_paths) < len(paths) or not nonce or not all(map(_word.match, flags)):
        raise tags.wrong()
    covered = _covered(field)
    return Signature(
        tags.number("i"),
        tags.number("m"),
        tags.number("t", _time),
        tags.domain("d"),
        tags.path(tags.tags["mf"]) if envelope else None,
        forward_paths,
        "" if envelope else tags.domain("nd"),
        _made(tags),
        frozenset(flags),
        covered,
        _unsigned(covered),
    )


def _made(tags: _Tags) -> tuple[tuple[Made, ...], ...]:
    groups = []
    for group in tags.groups("s", 1):
        groups.append(tuple(Made(tags.domain_in(s), a, tags.base64(v)) for s, a, v in group))
    found = [each for group in groups for each in group]
    if len({each.selector for each in found}) < len(found):
        raise tags.wrong("has a duplicate selector")
    names = [each.algorithm for each in found]
    if any(names.count(name) > SAME_MOST for name in names):
        raise tags.wrong("has more selectors than allowed")
    return tuple(groups)


def _covered(field: Field) -> bytes:
    """Give a field as signatures cover it: unfolded, without any blank (section 9.6)."""
    name, _, body = field.raw.partition(b":")
    return name.lower().translate(None, _blanks) + b":" + body.translate(None, _blanks) + b"\r\n"


def _unsigned(covered: bytes) -> bytes:
    """Empty the values of the signatures in a field that has no blanks (section 9.6)."""
    name, _, body = covered.partition(b":")
    tags = body.split(b";")
    for number, tag in enumerate(tags):
        key, _, value = tag.partition(b"=")
        if key.lower() == b"s":
            end = b"\r\n" if value.endswith(b"\r\n") else b""
            tags[number] = key + b"=" + _set_end.sub(b":", value.removesuffix(end)) + end
    return name + b":" + b";".join(tags)


_set_end = re.compile(rb":[^:,|]*(?=[,|]|\Z)")
