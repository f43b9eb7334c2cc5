"""Why smtpd-accept refused something, in words: the class, whose trouble it is, what helps."""

from __future__ import annotations

from mailtools.services.why.cause import (
    BETWEEN,
    OURS,
    SENDERS,
    THEIRS,
    Cause,
    Rule,
    first_of,
    quoted,
)
from mailtools.services.why.refusals import Refusal

_REHEARSE = "smtpd-accept --pretend-from {client}"
_ROUTE = "mail-route {to}"
_CHECK = "mail-check"

_LOGIN = (
    Rule(
        Cause(
            "throttled", OURS, "Too many logins failed from there; they are put off for a while."
        ),
        words=r"throttled",
    ),
    Rule(
        Cause("login", SENDERS, "No such user, or another password.", ("mail-account list",)),
        words=r"",
        statuses=("7.8", "7.0"),
    ),
)
_RULES = (
    Rule(
        Cause("greylist", OURS, "A stranger is asked to come again; a mail host does that by"
              " itself, within the hour (control file greylist).", (_REHEARSE,)),
        words=r"\AGreylisted",
    ),
    Rule(
        Cause("budget", OURS, "The user's or domain's budget is used up, and enough is held"
              " (user-budget, domain-budget).", ("queue-list --state hold --from {from}",)),
        words=r"recipients an hour for",
    ),
    Rule(
        Cause("reputation", THEIRS, "A DNS list knows this client (dnsbl); the list says how to get"
              " off it.", (_REHEARSE,)),
        words=r"\A\S+ is listed by ",
    ),
    Rule(
        Cause("backscatter", THEIRS, "Somebody forged the sender, and their host sent a DSN for"
              " that; reverse-paths of ours have a tag, which it lacks (batv-secrets)."),
        words=r"\AThis DSN is for a message that was not sent from here",
    ),
    Rule(
        Cause("authentication", SENDERS, "Nobody proved that it is from the author's domain, which"
              " asks for refusal (DMARC).", (_REHEARSE,)),
        ("7.26",), words=r"DMARC",
    ),
    Rule(
        Cause("helo", THEIRS, "It calls itself by our name: a forger, or a host behind a wrong"
              " setting.", (_REHEARSE,)),
        words=r"\AYou are not ",
    ),
    Rule(
        Cause("sender", SENDERS, "The sender's domain takes no mail, or is not there, so that no"
              " answer could reach it.", ("mail-route {from}",)),
        ("1.8", "7.27"),
    ),
    Rule(
        Cause("rate", OURS, "It came too often or with too many connections (client-connections,"
              " client-rate, client-messages)."),
        words=r"Too many .* from |too many connections",
    ),
    Rule(Cause("address", SENDERS, "There is no such mailbox here.", (_ROUTE,)),
         ("1.1", "1.2", "1.3", "1.6", "2.1")),
    Rule(Cause("quota", OURS, "The mailbox here is full.", (_ROUTE,)), ("2.2",)),
    Rule(
        Cause("login", SENDERS, "It may not send as this address (send-as, aliases).",
              ("mail-account list",)),
        words=r" may not send as |\ANo such account",
    ),
    Rule(
        Cause("relay", SENDERS, "The domain is not local here, and the client may not relay: who"
              " belongs here logs in on the submission port.", (_ROUTE,)),
        words=r"\ARelay",
    ),
    Rule(Cause("space", OURS, "The disk of the queue lacks room (its floors).", (_CHECK,)),
         ("3.1",)),
    Rule(Cause("size", SENDERS, "The message is larger than message-size allows.",
               (f"{_CHECK} --show",)),
         ("3.4", "2.3")),
    Rule(Cause("loop", BETWEEN, "It has been through too many hosts (hops).", (_ROUTE,)), ("4.6",)),
    Rule(Cause("recipients", SENDERS, "Too many recipients for one message (recipients)."),
         ("5.3",)),
    Rule(Cause("protocol", THEIRS, "It did not speak SMTP as the RFCs say."),
         words=r"\AToo many errors|talked before"),
    Rule(Cause("tls", SENDERS, "It is to begin TLS, and then log in."), words=r"STARTTLS|\bTLS\b"),
    Rule(
        Cause("login", SENDERS, "It did not log in, or may not send as this address.",
              ("mail-account list",)),
        ("7.0", "7.8", "7.9", "7.11"),
    ),
    Rule(Cause("configuration", OURS, "A setting here is wrong.", (_CHECK,)), ("3.5",)),
    Rule(Cause("protocol", THEIRS, "It did not speak SMTP as the RFCs say."),
         ("5.0", "5.1", "5.2", "5.4", "5.5", "5.6")),
    Rule(Cause("content", SENDERS, "The form of the message is not what may be sent."),
         ("6.0", "6.1", "6.2", "6.3", "6.5", "6.6", "6.7")),
)  # fmt: skip
_PROGRAM = Cause("content", OURS, "A content program, a milter or a rule of ours does not want it.")
_HERE = Cause("here", OURS, "Something failed here; it may come again.", (_CHECK,))


def cause_of_refusal(one: Refusal) -> Cause:
    """Give the class of a refusal at the door."""
    rules = _LOGIN if one.at == "login" else _RULES
    found = first_of(rules, one.status, one.text)
    if found:
        return found
    return _HERE if one.status.startswith("4.3") else _PROGRAM


def help_of(cause: Cause, one: Refusal) -> list[str]:
    """Give the command lines that help with a refusal; one that lacks its word is left out."""
    words = {"client": _client(one), "to": next(iter(one.forward_paths), "")}
    words["from"] = one.reverse_path or ""
    needed = {name: quoted(word) for name, word in words.items() if word}
    lines = []
    for line in cause.helps:
        try:
            lines.append(line.format(**needed))
        except KeyError:
            continue
    return lines


def _client(one: Refusal) -> str:
    """Write whom `smtpd-accept --pretend-from` takes: an address and a HELO name."""
    if one.client in ("", "local"):
        return ""
    address = f"[{one.client}]" if ":" in one.client and one.helo else one.client
    return f"{address}:{one.helo}" if one.helo else address
