"""What is checked of DKIM2 fields once they are read (draft section 11; see dkim2.py)."""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from mailtools.errors import BadAddress, BadMessage, DnsTrouble
from mailtools.mail.address import Address, ascii_domain, parse_path
from mailtools.mail.envelope import Envelope
from mailtools.mail.fields import Field
from mailtools.trust.author import author_domain
from mailtools.trust.canonical import BodyForm, BodyHashes, HashName
from mailtools.trust.dkim import RSA_BITS_LEAST, RSA_BITS_MOST
from mailtools.trust.dkim2_fields import (
    ALGORITHMS,
    Fields,
    HashSet,
    Instance,
    Made,
    Signature,
)
from mailtools.trust.dkim2_recipe import ONCE_UNSIGNED, HeaderState
from mailtools.trust.dkim_record import parse_key
from mailtools.trust.keys import KeyKind, PublicKey, load_public_key
from mailtools.trust.lookup import Lookup, is_name
from mailtools.trust.tags import BadRecord

AGE_MOST = 14 * 86400  # seconds, section 11.3
AHEAD_MOST = 86400  # seconds a signer's clock may be ahead: ours, section 8.4 leaves it open
KEYS_MOST = 40  # looked for in one message: ours
RSA_EXPONENT = 65537  # section 3.2
HASHES: dict[str, HashName] = {"sha256": "sha256", "sha512": "sha512"}


class Dkim2(StrEnum):
    """The results (section 11.1), and none."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Dkim2Result(NamedTuple):
    """What the DKIM2 fields of a message prove."""

    result: Dkim2
    problem: str = ""
    """Why it is not a pass, in the draft's words where it has any."""
    signature: int = 0
    """i= of the signature with the problem; 0 where it is of none."""
    domains: tuple[str, ...] = ()
    """d= of each signature, the first sender's first: proved by a pass alone."""
    remark: str = ""
    """What else there is to say of a pass."""


class Unproved(Exception):
    """Stop: this does not pass; carries the result, why, and of which signature."""

    def __init__(self, result: Dkim2, problem: str, signature: int = 0) -> None:
        """Say what became of it, and why."""
        super().__init__(problem)
        self.result = result
        self.problem = problem
        self.signature = signature


def _error(signature: int, problem: str) -> Unproved:
    return Unproved(Dkim2.PERMERROR, f"DKIM2-Signature i={signature} {problem}", signature)


# -- who, when, to whom ---------------------------------------------------------------------------


def check_times(fields: Fields, now: int) -> None:
    """Raise Unproved for a signature that is too old, or not made yet (sections 8.4, 11.3)."""
    for each in fields.signatures:
        if now > each.time + AGE_MOST:
            raise _error(each.number, "signature expired")
        if each.time > now + AHEAD_MOST:
            raise _error(each.number, "signature is from the future")


def check_custody(fields: Fields) -> None:
    """Raise Unproved unless each had the message from the one before (sections 8.7, 8.8, 9.4)."""
    before: Signature | None = None
    for each in fields.signatures:
        sender = each.reverse_path
        if sender is not None and not _within(sender.domain, each.domain):
            raise _error(each.number, "MAIL FROM and d= do not match")
        if before is not None and before.next:
            if before.next != each.domain:
                raise _error(before.number, "MAIL nd= does not match")
        elif before is not None:
            # section 9.3: who makes a hop up has a key for the domain that the message came to
            domain = each.domain if sender is None else sender.domain
            if not any(_within(domain, path.domain) for path in before.forward_paths):
                raise _error(each.number, f"MAIL FROM {sender or each.domain} did not match")
        before = each


def _within(domain: str, parent: str) -> bool:
    """Match as section 9.4 has it: labels may be dropped on the left."""
    return bool(parent) and (domain == parent or domain.endswith(f".{parent}"))


def check_envelope(last: Signature, envelope: Envelope) -> None:
    """Raise Unproved unless the envelope is the one that was signed last (section 11.4)."""
    if last.next:  # section 9.3: that would want an arrangement with the sender
        raise _error(last.number, "unexpected nd= tag")
    reverse_path = _path(envelope.reverse_path)
    if reverse_path != last.reverse_path:
        raise _error(last.number, f"MAIL FROM <{envelope.reverse_path}> did not match")
    signed = frozenset(last.forward_paths)
    for path in envelope.forward_paths:
        if _path(path.address) not in signed:
            raise _error(last.number, f"RCPT TO <{path.address}> did not match")


def _path(text: str) -> Address | None:
    try:
        path = parse_path(f"<{text}>")
        return path and path._replace(domain=ascii_domain(path.domain))
    except BadAddress:
        return Address(text, "")


# -- what the message was -------------------------------------------------------------------------


def used_hashes(instances: Iterable[Instance]) -> list[HashName]:
    """Give the hash algorithms that are used, of those known."""
    sets = (one for each in instances for group in each.hashes for one in group)
    return list(dict.fromkeys(HASHES[one.algorithm] for one in sets if one.algorithm in HASHES))


def body_form(algorithm: HashName) -> BodyForm:
    """Give the form of a body that is hashed (section 6.1)."""
    return BodyForm("simple", None, algorithm)


def check_hashes(instance: Instance, state: HeaderState, bodies: BodyHashes) -> None:
    """Raise Unproved unless header and body are those of an instance (section 11.7)."""
    texts = [_text(state)]
    if any(name in state for name in ONCE_UNSIGNED):
        texts.append(_text({name: state[name] for name in state if name not in ONCE_UNSIGNED}))
    problems = [_mismatch(group, texts, bodies) for group in instance.hashes]
    if len(problems) > 1:  # with revision 08: what nobody can check proves nothing
        for number, group in enumerate(instance.hashes):
            unknown = [one.algorithm for one in group if one.algorithm not in HASHES]
            problems[number] = problems[number] or (f"{unknown[0]} unknown" if unknown else "")
    if all(problems):
        problem = f"Message Instance m={instance.number} {problems[0]}"
        raise Unproved(Dkim2.FAIL, problem)


def _text(state: HeaderState) -> bytes:
    return b"".join(field for fields in state.values() for field in fields)


def _mismatch(group: Iterable[HashSet], headers: Sequence[bytes], bodies: BodyHashes) -> str:
    for one in group:
        algorithm = HASHES.get(one.algorithm)
        if algorithm is None:
            continue
        if all(hashlib.new(algorithm, text).digest() != one.header for text in headers):
            return f"header hash {algorithm} mismatch"
        if bodies.digest(body_form(algorithm)) != one.body:
            return f"body hash {algorithm} mismatch"
    return ""


# -- who signed it --------------------------------------------------------------------------------


class Keys:
    """The keys of signers, from DNS; `testing` once one of them is not to be believed yet."""

    def __init__(self, lookup: Lookup) -> None:
        """Take whom to ask."""
        self._lookup = lookup
        self._asked = 0
        self.testing = False

    def find(self, made: Made, domain: str) -> PublicKey:
        """Fetch a key; raise Unproved with why there is none that can be used (section 11.5)."""
        self._asked += 1
        if self._asked > KEYS_MOST:
            raise Unproved(Dkim2.PERMERROR, f"{made.selector} is one of more than {KEYS_MOST}")
        name = f"{made.selector}._domainkey.{domain}"
        try:
            records = self._lookup(name, "TXT").records if is_name(name) else ()
        except DnsTrouble:
            raise Unproved(Dkim2.TEMPERROR, f"{made.selector} could not be fetched") from None
        problem = "does not exist" if not records else ""
        if len(records) > 1:
            problem = "has multiple records"
        if not problem:
            try:
                return self._usable(records[0], ALGORITHMS[made.algorithm])
            except BadRecord as error:
                problem = error.text
        raise Unproved(Dkim2.PERMERROR, f"{made.selector} {problem}")

    def _usable(self, record: str, kind: KeyKind) -> PublicKey:
        try:
            read = parse_key(record)
        except BadRecord:
            raise BadRecord("has a syntax error") from None
        if not read.key:
            raise BadRecord("has been revoked")
        if read.kind != kind:
            raise BadRecord("algorithm mismatch")
        try:
            key = load_public_key(kind, read.key)
        except BadRecord:
            raise BadRecord("has a syntax error") from None
        if kind == "rsa" and not RSA_BITS_LEAST <= key.bits <= RSA_BITS_MOST:
            raise BadRecord(f"has {key.bits} bits")
        if key.exponent not in (0, RSA_EXPONENT):
            raise BadRecord("has an exponent that is not 65537")
        self.testing = self.testing or read.testing
        return key


def check_signature(signature: Signature, fields: Fields, keys: Keys) -> None:
    """Raise Unproved unless one of its groups of signatures holds (section 11.6)."""
    digest = signed_digest(signature, fields)
    found: list[Unproved] = []
    for group in signature.signatures:
        try:
            _check_group(signature, group, digest, keys)
        except Unproved as why:
            found.append(why)
        else:
            return
    raise _foremost(found)


def _foremost(found: Sequence[Unproved]) -> Unproved:
    """Choose which to tell: what may hold later, if there is any."""
    return next((each for each in found if each.result is Dkim2.TEMPERROR), found[0])


def signed_digest(signature: Signature, fields: Fields) -> bytes:
    """Hash the fields that a signature covers (section 9.6)."""
    digest = hashlib.sha256()
    for instance in fields.instances[: signature.instance]:
        digest.update(instance.covered)
    for each in fields.signatures[: signature.number - 1]:
        digest.update(each.covered)
    digest.update(signature.unsigned)
    return digest.digest()


def _check_group(signature: Signature, group: tuple[Made, ...], digest: bytes, keys: Keys) -> None:
    passed: list[str] = []
    failed: list[str] = []
    troubles: list[Unproved] = []
    unknown = [made.selector for made in group if made.algorithm not in ALGORITHMS]
    for made in group:
        if made.algorithm not in ALGORITHMS:
            continue  # section 3.4
        try:
            key = keys.find(made, signature.domain)
        except Unproved as why:
            troubles.append(why)
            continue
        (passed if key.verify(made.value, digest) else failed).append(made.selector)
    start, number = f"DKIM2-Signature i={signature.number}", signature.number
    if failed and passed:
        which = f"{', '.join(passed)} signature passed, {', '.join(failed)} signature failed"
        raise Unproved(Dkim2.FAIL, f"{start} {which}", number)
    if failed:
        raise Unproved(Dkim2.FAIL, f"{start} {', '.join(failed)} incorrect signature", number)
    # with revision 08: among several groups, one that cannot be checked whole does not hold
    strict = len(signature.signatures) > 1
    if troubles and (strict or not passed):
        worst = _foremost(troubles)
        raise Unproved(worst.result, f"{start} public key {worst.problem}", number)
    if unknown and (strict or not passed):
        raise Unproved(Dkim2.FAIL, f"{start} {unknown[0]} algorithm is unknown", number)


# -- what else ------------------------------------------------------------------------------------


def remark_on(fields: Fields, authors: Sequence[Sequence[bytes]], *, testing: bool) -> str:
    """Tell what was done against a signer's wish, of strange authors, and of keys in testing.

    `authors` are the From fields of each instance.
    """
    said = []
    for number, named in enumerate(authors, 1):
        signer = next(each for each in fields.signatures if each.instance >= number)
        if number == 1 or named != authors[number - 2]:
            try:
                author = author_domain([Field(b"from", text) for text in named])
            except BadMessage:
                author = ""
            if not _within(author, signer.domain):
                said.append(f"From of {author or 'no domain'} was put there by {signer.domain}")
    for each in fields.signatures:
        changed = any(made.recipe.rewrites for made in fields.instances[each.instance :])
        if "donotmodify" in each.flags and changed:
            said.append(f"modified despite a donotmodify request of i={each.number}")
        exploded = any("exploded" in later.flags for later in fields.signatures[each.number :])
        if "donotexplode" in each.flags and exploded:
            said.append(f"exploded despite a donotexplode request of i={each.number}")
    if testing:
        said.append("testing")
    return "; ".join(said)
