"""One message of a stranger, judged at its end: SPF, DKIM, DKIM2, ARC, DMARC, and what follows.

The message is hashed as it comes and kept aside, since what was found stands above it; then it goes
into the queue, without fields that claim to be ours (RFC 8601 5), or it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mailtools import log
from mailtools.errors import BadMessage, Failure, Harmful, PolicyRefused
from mailtools.mail.envelope import JUDGED, JUNK, Envelope, ForwardPath
from mailtools.mail.fields import first
from mailtools.services.reception.greylist import BAD, GOOD
from mailtools.store.scratch import Scratch
from mailtools.trust.authres import AuthenticationResults, format_authres, remove_forged
from mailtools.trust.dkim import Dkim, DkimResult
from mailtools.trust.dmarc import Dmarc, DmarcResult
from mailtools.trust.dmarc_record import Policy
from mailtools.trust.examine import Examination, Verdicts
from mailtools.trust.findings import iprev_finding, spf_finding
from mailtools.trust.spf import Spf, SpfResult

if TYPE_CHECKING:
    from mailtools.services.reception.belief import Belief
    from mailtools.services.reception.intake import Intake
    from mailtools.trust.dnsbl import DnsblVerdict
    from mailtools.trust.iprev import Helo, IprevResult

_dsn = re.compile(
    rb"multipart/report[ \t]*;.*\breport-type[ \t]*=[ \t]*\"?delivery-status\b",
    re.IGNORECASE | re.DOTALL,
)
SIGNERS_TOLD = 2  # in a refusal
PROVED_MOST = 2  # signers whose standing counts: each is a file, and strangers choose them
MARKED = "nothing is refused here yet"
OPEN = "its recipient takes all mail"
SAID_MOST = 120  # characters of what SPF's exp= says in a refusal
TEXT_MOST = 480  # characters: a reply line has 512 octets, RFC 5321 4.5.3.1.5


class Peer(Protocol):
    """What is known of the stranger (services/reception/belief.py)."""

    address: str

    def listed(self) -> DnsblVerdict:
        """What the lists say."""

    def iprev(self) -> IprevResult:
        """What reverse DNS says."""

    def helo(self, hello: str) -> Helo:
        """What its HELO name is worth."""

    def spf(self, hello: str, reverse_path: str) -> SpfResult:
        """What SPF says."""

    def client(self, hello: str, reverse_path: str) -> str:
        """Who the greylist takes it for."""


@dataclass(frozen=True, slots=True)
class Case:
    """Who sends, and as whom."""

    peer: Peer
    hello: str
    reverse_path: str
    forward_paths: tuple[str, ...] = ()
    open: bool = False
    """All recipients are open to everybody: nothing is refused or moved."""
    to: str = ""
    """The domain of the recipients; "" where there are several."""
    greylisted: tuple[str, ...] = ()
    """Forward-paths for which the peer must wait, unless the message proves who it is."""

    @property
    def envelope(self) -> Envelope:
        """The envelope it came in."""
        return Envelope(self.reverse_path, tuple(map(ForwardPath, self.forward_paths)))

    def spf(self) -> SpfResult:
        """What SPF says of it."""
        return self.peer.spf(self.hello, self.reverse_path)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done: accept, junk or refuse, and why."""

    action: str
    reason: str = ""
    refusal: Failure | None = None


ACCEPT = Decision("accept")


class Judged:
    """The sink of one message (protocol/smtp/session.py)."""

    def __init__(self, belief: Belief, case: Case, intake: Intake, *, binary: bool = False) -> None:
        """Take who sends it, and where it goes when it may; `binary` as Intake has it."""
        self._belief, self._case, self._intake = belief, case, intake
        self._binary = binary
        self._examination = Examination()
        self._kept = Scratch(belief.scratch)

    def write(self, text: bytes) -> None:
        """Take a piece of the message; raise what refuses it."""
        self._kept.write(text)
        if not self._binary:
            self._examination.update(text)

    def commit(self) -> str:
        """Judge the message and put it into the queue, durably; or raise why not."""
        try:
            return self._commit()
        except BaseException:
            self._intake.abort()
            raise
        finally:
            self._kept.close()

    def abort(self) -> None:
        """Forget the message."""
        self._kept.close()
        self._intake.abort()

    def _commit(self) -> str:
        belief, case = self._belief, self._case
        if self._binary:  # what was signed has CRLF at its line ends (RFC 6376 5.3)
            self._examination.update(b"".join(self._kept.read()).replace(b"\r\n", b"\n"))
        now, spf = belief.clock(), case.spf()
        verdicts = self._examination.judge(spf, belief.patient(), int(now), case.envelope)
        decision = self._astray() or decide(belief, verdicts, spf)
        if case.open and decision.action != "accept":
            decision = Decision("accept", OPEN)
        if belief.enforce and decision.refusal:
            from mailtools.services.reception.intake import message_id  # loaded by now

            log.event(
                "judged",
                client=case.peer.address,
                **self._facts(verdicts, spf, decision),
                from_=f"<{case.reverse_path}>",
                message_id=message_id(self._examination.header) or None,
            )
            self._note(verdicts, spf, decision)
            self._remember((), BAD, now)
            raise decision.refusal
        names = _proved(verdicts)
        self._greylist(names, now)
        facts = log.facts(self._facts(verdicts, spf, decision))
        parameters = {JUDGED: facts}
        if belief.enforce and decision.action == "junk":
            parameters[JUNK] = ""
        try:
            answer = self._queue(verdicts, spf, parameters)
        except Failure as failure:
            if failure.permanent:  # content refused it; what may come again is not counted yet
                self._note(verdicts, spf, Decision("refuse", failure.text))
                self._remember(names, BAD, now)
            raise
        log.event("judged", facts, id=self._intake.id, client=case.peer.address)
        self._note(verdicts, spf, decision if belief.enforce else Decision("accept", MARKED))
        self._remember(names, BAD if JUNK in parameters or self._intake.junk else GOOD, now)
        if belief.greylist and verdicts.dmarc.result is Dmarc.PASS:
            belief.greylist.vouch(case.peer.client(case.hello, case.reverse_path), now)
        return answer

    def _astray(self) -> Decision | None:
        """Refuse a DSN for a message that was never sent from here: somebody forged its sender."""
        case, batv = self._case, self._belief.batv
        if batv is None or case.reverse_path or not is_dsn(self._examination.header):
            return None
        path = next(filter(batv.doubts, case.forward_paths), "")
        if not path:
            return None
        text = (
            f"This DSN is for a message that was not sent from here: <{path}> lacks the tag of our "
            "reverse-paths (BATV). Refuse forged senders (SPF, DMARC) before you bounce their mail"
        )
        # Nobody waits for it, and thousands would drive from Rejects what somebody waits for.
        return Decision("refuse", "a DSN without our tag", Harmful(text[:TEXT_MOST]))

    def _greylist(self, names: Sequence[str], now: float) -> None:
        """Raise PolicyRefused (451) where nobody knows the sender, whatever the message proves."""
        greylist, case = self._belief.greylist, self._case
        if greylist is None or not case.greylisted or greylist.trusts(names, now):
            return
        client = case.peer.client(case.hello, case.reverse_path)
        refused: Failure | None = None
        for path in case.greylisted:  # all of them begin to wait now
            try:
                greylist.check(client, case.reverse_path, path, now)
            except PolicyRefused as failure:
                refused = failure
        if refused:
            raise refused

    def _remember(self, names: Sequence[str], word: str, now: float) -> None:
        """Note for the standing of the client, and of whom the message proves."""
        greylist, case = self._belief.greylist, self._case
        if greylist is not None:
            client = case.peer.client(case.hello, case.reverse_path)
            greylist.note((client, *names), word, now)

    def _note(self, verdicts: Verdicts, spf: SpfResult, decision: Decision) -> None:
        """Note for the author domain's report what was done."""
        belief, case = self._belief, self._case
        if belief.reports is None and belief.failures is None:
            return
        from mailtools.services.reports.dmarc_data import Judgement  # loaded with what notes it

        judged = Judgement(
            case.peer.address,
            case.reverse_path,
            case.to,
            self._examination.header,
            spf,
            verdicts,
            decision.action,
            decision.reason,
            verdicts.arc.vouches(verdicts.dmarc.author, belief.arc_trusted),
        )
        for data in (belief.reports, belief.failures):
            if data is not None:
                data.note(judged)

    def _queue(self, verdicts: Verdicts, spf: SpfResult, parameters: dict[str, str]) -> str:
        belief, case, intake = self._belief, self._case, self._intake
        ip = case.peer.address
        found = [
            spf_finding(spf, case.reverse_path, case.hello),
            *verdicts.findings(ip),
            iprev_finding(case.peer.iprev(), ip),
        ]
        intake.amend(
            top=format_authres(AuthenticationResults(belief.authserv_id, tuple(found))),
            work=lambda header, _: remove_forged(header, (belief.authserv_id,)),
            parameters=parameters,
        )
        for piece in self._kept.read():
            intake.write(piece)
        return intake.commit()

    def _facts(self, verdicts: Verdicts, spf: SpfResult, decision: Decision) -> dict[str, object]:
        peer, dmarc, chain = self._case.peer, verdicts.dmarc, verdicts.arc
        listed = peer.listed()
        passed = [each.domain for each in verdicts.dkim if each.result is Dkim.PASS]
        action = {"action" if self._belief.enforce else "would": decision.action}
        return {
            "author": dmarc.author or None,
            "spf": spf.result,
            "dkim": _dkim_word(verdicts.dkim),
            "signers": ",".join(dict.fromkeys(passed)) or None,
            "dkim2": verdicts.dkim2.result if verdicts.dkim2 is not None else None,
            "dmarc": dmarc.result,
            "arc": chain.result if chain.chain.highest or chain.problem else None,
            "iprev": peer.iprev().result,
            "hello": peer.helo(self._case.hello),
            "score": listed.score,
            "lists": ",".join(hit.list.zone for hit in listed.hits) or None,
            **action,
            "reason": decision.reason or None,
        }


def is_dsn(header: bytes) -> bool:
    """Tell whether a message is a DSN (RFC 3464 2): other reports go to whom they like."""
    kind = first(header, b"content-type")
    return kind is not None and bool(_dsn.match(kind.body))


def decide(belief: Belief, verdicts: Verdicts, spf: SpfResult) -> Decision:
    """Say what is to be done with a message; what DNS could not answer never refuses it."""
    dmarc = verdicts.dmarc
    if dmarc.result is Dmarc.PERMERROR and not dmarc.author:
        return Decision("refuse", dmarc.problem, BadMessage(dmarc.problem, reply=550))
    wanted = dmarc.disposition
    if wanted is Policy.NONE:
        return ACCEPT
    if verdicts.arc.vouches(dmarc.author, belief.arc_trusted):
        return Decision("accept", "a trusted ARC handler saw DMARC pass")
    if wanted is Policy.REJECT or belief.quarantine == "reject":
        text = _refusal_text(dmarc, spf, verdicts.dkim)
        # RFC 7372 3.2: several methods failed; without any of them it is plain policy
        status = "5.7.26" if verdicts.dkim or spf.result is not Spf.NONE else "5.7.1"
        return Decision("refuse", f"DMARC {wanted}", PolicyRefused(text, status=status))
    action = "junk" if belief.quarantine == "junk" else "accept"
    return Decision(action, f"DMARC {wanted}")


def _refusal_text(dmarc: DmarcResult, spf: SpfResult, dkim: Sequence[DkimResult]) -> str:
    """Tell a postmaster which domain asked for it, and what did not pass."""
    spf_words = f"SPF {spf.result} for {spf.domain or 'no domain'}"
    if spf.result is Spf.PASS:
        spf_words += ", which is another domain"
    elif spf.explanation:  # RFC 7208 6.2: it must be plain who says so
        spf_words += f' (the domain says: "{spf.explanation[:SAID_MOST]}")'
    words = [f"DKIM {each.result} for {each.domain or 'no domain'}" for each in dkim[:SIGNERS_TOLD]]
    if any(each.result is Dkim.PASS for each in dkim):
        words.append("none of them of its domain")
    dkim_words = ", ".join(words) or "no DKIM signature"
    asked = dmarc.record.domain if dmarc.record else dmarc.author
    text = (
        f"Not from {dmarc.author}: DMARC failed, and _dmarc.{asked} asks to "
        f"{dmarc.disposition} such mail; {spf_words}; {dkim_words}"
    )
    return text[:TEXT_MOST]


def _proved(verdicts: Verdicts) -> list[str]:
    """Name the domains that a message proves it is from: DMARC's, and those that signed it."""
    names = [each.domain for each in verdicts.dkim if each.result is Dkim.PASS][:PROVED_MOST]
    if verdicts.dmarc.result is Dmarc.PASS:
        names.append(verdicts.dmarc.author)
    return [name.lower() for name in names]


def _dkim_word(found: Sequence[DkimResult]) -> str:
    """Say all signatures in one word: pass where one passes, else what the first came to."""
    results = [each.result for each in found]
    return Dkim.PASS if Dkim.PASS in results else next(iter(results), Dkim.NONE)
