"""DKIM2: who sent a message on, to whom, and what each of them changed.

    chain = Chain(header)
    hashes = BodyHashes(chain.body_forms())
    for chunk in body: hashes.update(chunk); chain.update(chunk)
    result = chain.judge(hashes, lookup, now, envelope)

After draft-ietf-dkim-dkim2-spec-06 (28 August 2026), the newest revision that public test vectors
could be had for; its sections are cited here, in dkim2_fields.py, dkim2_recipe.py and
dkim2_checks.py. What implementers published of revisions 07 to 09 is followed where it changed
what is on the wire: alternatives (`|`) in h= and s=, steps `u` in recipes, Auto-Submitted and
VBR-Info signed or, as before, not; and in two things it made safer or simpler: an earlier body that
cannot be had again is an error, and what donotmodify and donotexplode ask for is told, and fails
nothing.

One result is for the whole message: every signature, every instance that recipes lead back to, and
the chain of custody from the first sender to the envelope that came. That From is of the domain of
who put it there, which revision 07 demands and public vectors do not heed, is told where it is not,
and DMARC judges it. Left out: replays (11.9 wants a memory), and what is said of DSNs (12).
Revision 09 calls some errors (time, envelope, custody) FAIL that are PERMERROR here, and takes one
unknown algorithm for an error where another holds.
"""

from mailtools.mail.envelope import Envelope
from mailtools.mail.fields import Header, listed, split_message
from mailtools.trust.canonical import BodyForm, BodyHashes
from mailtools.trust.dkim2_checks import (
    Dkim2,
    Dkim2Result,
    Keys,
    Unproved,
    body_form,
    check_custody,
    check_envelope,
    check_hashes,
    check_signature,
    check_times,
    remark_on,
    used_hashes,
)
from mailtools.trust.dkim2_fields import BadField, Fields, read_fields
from mailtools.trust.dkim2_recipe import BodyUndo, header_state, undo_header
from mailtools.trust.lookup import Lookup
from mailtools.trust.tags import BadRecord


class _Body:
    """A body that the message had before: made of the one after it, and hashed, as that comes."""

    def __init__(self, undo: BodyUndo, forms: list[BodyForm], instance: int) -> None:
        self.undo = undo
        self.hashes = BodyHashes(forms)
        self.instance = instance
        """The one whose recipe makes it."""


class Chain:
    """The DKIM2 fields of a message, and its earlier bodies as they pass by."""

    def __init__(self, header: Header) -> None:
        """Read the fields of a header, LF text or its fields."""
        self._header = listed(header)
        self._fields = Fields((), ())
        self._problem: Unproved | None = None
        self._bodies: list[_Body] = []
        self._authors: list[list[bytes]] = []
        try:
            self._fields = read_fields(self._header)
        except BadField as error:
            self._problem = Unproved(Dkim2.PERMERROR, error.problem, error.signature)
        forms = self.body_forms()
        for each in reversed(self._fields.instances[1:]):
            if each.recipe.lost:
                problem = f"Message-Instance m={each.number} gives up the body before it"
                self._problem = Unproved(Dkim2.PERMERROR, problem)
            elif each.recipe.body is not None:
                self._bodies.append(_Body(BodyUndo(each.recipe.body), forms, each.number))

    def body_forms(self) -> list[BodyForm]:
        """Give the forms in which the bodies are hashed; none where nothing can be proved."""
        return [body_form(name) for name in used_hashes(self._fields.instances)]

    def update(self, chunk: bytes) -> None:
        """Take the next chunk of the body, LF text, cut anywhere."""
        for body in self._bodies:
            chunk = body.undo.update(chunk)
            body.hashes.update(chunk)

    def judge(
        self, hashes: BodyHashes, lookup: Lookup, now: int, envelope: Envelope | None
    ) -> Dkim2Result:
        """Judge it all, once, at the end: `hashes` of the body as it came; seconds since 1970.

        Without an envelope it is not compared, and anybody may have sent the message anywhere.
        """
        if not self._fields.signatures and self._problem is None:
            return Dkim2Result(Dkim2.NONE)
        domains = tuple(each.domain for each in self._fields.signatures)
        try:
            if self._problem is not None:
                raise self._problem
            keys = Keys(lookup)
            self._check(hashes, keys, now, envelope)
        except Unproved as why:
            return Dkim2Result(why.result, why.problem, why.signature, domains)
        remark = remark_on(self._fields, self._authors, testing=keys.testing)
        return Dkim2Result(Dkim2.PASS, domains=domains, remark=remark)

    def _check(self, hashes: BodyHashes, keys: Keys, now: int, envelope: Envelope | None) -> None:
        check_times(self._fields, now)
        check_custody(self._fields)
        if envelope is not None:
            check_envelope(self._fields.signatures[-1], envelope)
        self._check_instances(hashes)
        later: Unproved | None = None
        for signature in reversed(self._fields.signatures):
            try:
                check_signature(signature, self._fields, keys)
            except Unproved as why:
                if why.result is not Dkim2.TEMPERROR:
                    raise
                later = later or why  # what does not hold now will not hold later
        if later is not None:
            raise later

    def _check_instances(self, hashes: BodyHashes) -> None:
        """Check what recipes lead back to against its hashes (sections 5, 11.7)."""
        state, body = header_state(self._header), iter(self._finished())
        for each in reversed(self._fields.instances):
            check_hashes(each, state, hashes)
            self._authors.insert(0, state.get(b"from", []))
            if each.number > 1:
                try:
                    state = undo_header(state, each.recipe.header)
                except BadRecord:
                    raise _bad_recipe(each.number) from None
                if each.recipe.body is not None:
                    hashes = next(body)

    def _finished(self) -> list[BodyHashes]:
        chunk = b""
        for body in self._bodies:
            chunk = body.undo.update(chunk)
            try:
                chunk += body.undo.finish()
            except BadRecord:
                raise _bad_recipe(body.instance) from None
            body.hashes.update(chunk)
        return [body.hashes for body in self._bodies]


def _bad_recipe(instance: int) -> Unproved:
    return Unproved(Dkim2.PERMERROR, f"Message-Instance m={instance} contains invalid JSON")


def verify_message_dkim2(
    message: bytes, lookup: Lookup, now: int, envelope: Envelope | None = None
) -> Dkim2Result:
    """Judge a message in memory (LF text)."""
    header, body = split_message(message)
    chain = Chain(header)
    hashes = BodyHashes(chain.body_forms())
    hashes.update(body)
    chain.update(body)
    return chain.judge(hashes, lookup, now, envelope)
