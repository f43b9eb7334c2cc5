"""Why a peer put a message off or refused it: what hosts and providers say in the wild.

They say the same things in many words and with statuses of their own, so the order counts: first
what is sure whatever else they say, then their words, then what a status alone tells (RFC 3463).
"""

from __future__ import annotations

from mailtools.services.why.cause import (
    BETWEEN,
    CHECK,
    DIAL,
    OURS,
    RETRY,
    ROUTE,
    SENDERS,
    THEIRS,
    Cause,
    Rule,
    first_of,
)

_RATE = Cause(
    "rate",
    THEIRS,
    "They limit how fast we may send; it is tried again more slowly"
    " (control file destination-limits).",
)
_AUTHENTICATION = Cause(
    "authentication",
    OURS,
    "They miss proof of who we are: reverse DNS, SPF, DKIM or DMARC.",
    (CHECK,),
)
_REPUTATION = Cause(
    "reputation",
    OURS,
    "They distrust this host's address or the message; their words say whom to ask.",
    (CHECK,),
)
_LOGIN = Cause(
    "login", OURS, "Our login at their host failed: see route-credentials.", (CHECK, RETRY)
)
_ADDRESS = Cause("address", SENDERS, "There is no such mailbox over there.")
_NOT_NOW = Cause(
    "address",
    THEIRS,
    "They do not know or do not open the mailbox for now; it is tried again.",
    (RETRY,),
)
_GREYLIST = Cause(
    "greylist",
    THEIRS,
    "Their host takes mail from strangers at a second try, minutes later.",
    (RETRY,),
)

PEER_RULES = (
    Rule(_GREYLIST, words=r"gr[ae]y-? ?list"),
    Rule(
        Cause("tls", BETWEEN, "They want TLS, or better TLS, and it was not reached.",
              (DIAL, RETRY)),
        ("7.4", "7.5", "7.10", "7.29"), r"\btls\b|starttls|requiretls|certificate|\bdane\b|mta-sts",
    ),
    Rule(_LOGIN, ("7.8",), r"\(to AUTH\)"),
    Rule(_RATE, ("7.28", "7.500", "7.501")),
    # Those beyond 7.27 are Gmail's and Microsoft's own.
    Rule(
        _AUTHENTICATION,
        ("7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27", "7.30", "7.32", "7.40",
         "7.509", "7.515"),
        r"\b(?:spf|dkim|dmarc|ptr|rdns|reverse.dns|reverse (?:host)?name|unauthenticated)\b"
        r"|cannot find your hostname|5\.7\.9 message not accepted for policy reasons",
    ),
    Rule(
        Cause("helo", OURS, "They do not like the name by which this host greets them (me,"
              " source-addresses).", (CHECK,)),
        words=r"\b(?:helo|ehlo)\b",
    ),
    Rule(
        Cause("relay", THEIRS, "The host asked does not take the domain for its own: the MX record"
              " or our route leads to the wrong one.", (ROUTE,)),
        words=r"relay(?:ing)?\b.{0,30}\b(?:denied|not permitted|not allowed|prohibited|disabled)"
        r"|(?:unable|not (?:permitted|allowed)) to relay|do not relay|tenantattribution",
    ),
    Rule(
        Cause("restricted", SENDERS, "That address takes mail from chosen senders only."),
        ("7.2", "7.124", "7.133", "7.134"),
        r"resolver\.rst|only (?:accepts|takes) (?:mail|messages) from|not allowed to post",
    ),
    Rule(
        Cause("login", OURS, "Their host wants a login first: it is no exchanger, or"
              " route-credentials lacks a line.", (ROUTE, CHECK)),
        words=r"\bauthentication (?:is )?required|must (?:first )?(?:authenticate|issue an? auth)"
        r"|not authenticated to send",
    ),
    Rule(
        Cause("sender", SENDERS, "They do not take the reverse-path: nothing could be answered to"
              " it, or they think it is not ours to use."),
        ("1.7", "1.8", "7.60"),
        r"sender address (?:rejected|invalid)|sender domain|sender verif|callout|sendasdenied"
        r"|send as this sender",
    ),
    Rule(
        Cause("loop", THEIRS, "Their hosts send it round in a circle, or it came through too many.",
              (ROUTE,)),
        ("4.6", "4.14"), r"too many hops|hop count|mail loop|loops? back|loop detected",
    ),
    Rule(
        Cause("content", SENDERS, "They do not take this content."),
        words=r"virus|malware|phish|attachment|(?:content|file).{0,20}(?:rejected|not accepted)"
        r"|banned (?:file|content)|security issue",
    ),
    Rule(
        _REPUTATION,
        ("7.511", "7.650", "7.703", "7.708"),
        r"spamhaus|(?:block|black|deny).?list|\brbl\b|dnsbl|reputation|\bspam|unsolicited"
        r"|\blisted\b|\bbanned\b|suspicious|complaint|\bblocked\b|weren't sent|local policy"
        r"|\[(?:tss?|bl|cs|ipts)\d\d\]|permanently deferred|not accepted from this ip",
    ),
    Rule(
        _RATE, ("4.5", "5.3"),
        r"rate.?limit|too (?:many|much|fast|frequent)|throttl|slow down|\bquickly\b|at a rate"
        r"|recipients per hour",
    ),
    Rule(
        Cause("space", THEIRS, "Their disk is full; it is tried again.", (RETRY,)),
        ("3.1",), r"insufficient system storage",
    ),
    Rule(
        Cause("quota", THEIRS, "The mailbox over there is full; only its user can make room."),
        ("2.2",),
        r"quota|mailbox.{0,20}\bfull|insufficient storage|(?:out of|exceeded) (?:space|storage)",
    ),
    Rule(
        Cause("size", SENDERS, "The message is too big for them."),
        ("3.4", "2.3"), r"(?:message|size).{0,30}(?:too (?:big|large)|exceed)",
    ),
    Rule(
        Cause("utf8", THEIRS, "Their host takes no addresses or header beyond ASCII (SMTPUTF8)."),
        ("6.7",), r"smtputf8",
    ),
    Rule(
        Cause("busy", THEIRS, "Their host still asks another whether the mailbox is there.",
              (RETRY,)),
        words=r"verification in progress",
    ),
    Rule(
        _ADDRESS,
        ("1.0", "1.1", "1.3", "1.6", "1.10", "2.1"),
        r"(?:user|recipient|mailbox|address|account)\b.{0,40}"
        r"(?:unknown|not exist|not found|unavailable|disabled|inactive|invalid|rejected|no longer)"
        r"|(?:no such|unknown|invalid|no) (?:user|recipient|mailbox|address|account)\b"
        r"|unrout(?:e)?able address|does(?:n't| not) (?:exist|have an? \S+ account)",
    ),
    Rule(
        Cause("content", SENDERS, "They do not take this content."),
        ("6.0", "6.1", "6.2", "6.3", "6.6"),
    ),
    Rule(
        Cause("protocol", BETWEEN, "They did not understand what this host said to them.", (DIAL,)),
        ("5.0", "5.1", "5.2", "5.4", "5.5", "5.6"), r"line too long|syntax error",
    ),
    Rule(
        _GREYLIST._replace(says="Probably their host takes mail from strangers at a second try,"
                           " minutes later."),
        # As services/queue/schedule.py takes it; and Postfix' postscreen.
        words=r" said 45[01][ -]4\.7\.1 | said 450[ -]4\.3\.2 service currently unavailable",
    ),
)  # fmt: skip
_TEMPORARY = Cause("busy", THEIRS, "They put it off; it is tried again.", (RETRY,))
_POLICY = Cause("policy", THEIRS, "A rule of theirs refuses it; their postmaster knows which.")
_PERMANENT = Cause("refused", THEIRS, "They refuse it, for the reason they give.")


def cause_of_reply(status: str, text: str, *, delayed: bool) -> Cause:
    """Give the cause of what a peer said; `delayed`: it is tried again."""
    temporary = delayed or status.startswith("4")
    found = first_of(PEER_RULES, status, text)
    if found is _ADDRESS and temporary:
        return _NOT_NOW
    if found:
        return found
    if temporary:
        return _TEMPORARY
    return _POLICY if status in ("5.7.0", "5.7.1") else _PERMANENT
