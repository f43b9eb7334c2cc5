"""smtpd-accept: receive mail by SMTP or LMTP and put it into the queue."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from mailtools import log
from mailtools.cli import command, etc_option, listen_options, spool_option
from mailtools.commands.parts import (
    accounts_of,
    directory_of,
    networks_of,
    relay_domains_of,
    tls_of,
    tls_stamp,
)
from mailtools.config import Config
from mailtools.errors import Usage
from mailtools.net.serve import is_listener, serve
from mailtools.protocol.smtp.session import Settings
from mailtools.services.access.become import become_owner
from mailtools.services.reception.policy import Policy
from mailtools.services.reception.room import Room
from mailtools.services.reception.service import SmtpService, preload, turn_away
from mailtools.services.reception.submission import Submission
from mailtools.store.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mailtools.errors import Failure
    from mailtools.net.crowd import Crowd
    from mailtools.services.local.directory import Directory
    from mailtools.services.reception.belief import Belief
    from mailtools.services.reception.budget import Budget
    from mailtools.services.reception.greylist import Correspondents
    from mailtools.services.reception.intake import Entries
    from mailtools.services.reception.milter.session import Milters
    from mailtools.services.reception.quick import Quick
    from mailtools.services.reception.rejects import Rejects


@command("smtpd-accept")
@etc_option
@spool_option
@listen_options
@click.option("--submission", is_flag=True, help="Serve mail clients (RFC 6409): AUTH first.")
@click.option(
    "--pretend-from",
    metavar="ADDRESS[:HELO]",
    help="A session by hand as if from there: verdicts on stderr, nothing is queued.",
)
@click.option("--lmtp", is_flag=True, help="Speak LMTP (RFC 2033); every peer is trusted.")
@click.option("--qmtp", is_flag=True, help="Speak QMTP, as qmail-qmtpd does.")
@click.option("--qmqp", is_flag=True, help="Speak QMQP: the queue of hosts that may relay.")
def main(
    *,
    etc: str,
    spool: str,
    listen: tuple[str, ...],
    limit: int,
    tls: bool,
    submission: bool,
    pretend_from: str | None,
    lmtp: bool,
    qmtp: bool,
    qmqp: bool,
) -> None:
    """Receive mail by SMTP, on the connection that is stdin or as a listener, and queue it."""
    if submission + lmtp + qmtp + qmqp > 1:
        raise Usage(detail="--submission, --lmtp, --qmtp and --qmqp exclude each other")

    if pretend_from is not None:
        if listen:
            raise Usage(detail="--pretend-from serves one session by hand: it takes no --listen")
        if qmtp or qmqp:
            raise Usage(detail="--pretend-from shows an SMTP session: what it says holds for QMTP")
        _rehearse(Config(etc), spool, pretend_from, tls=tls, submission=submission, lmtp=lmtp)
        return

    listener = is_listener(listen)

    def setup() -> SmtpService:
        return build(
            Config(etc),
            f"{spool}/queue",
            tls=tls,
            submission=submission,
            lmtp=lmtp,
            qmtp=qmtp,
            qmqp=qmqp,
            listener=listener,
        )

    def settle() -> None:
        if os.geteuid() == 0:
            preload()  # a listener did; later we may not be allowed to read it
        become_owner(f"{spool}/queue")
        Queue(f"{spool}/queue").create()

    quick = qmtp or qmqp
    refuse = _nothing if quick else turn_away(Config(etc).line("me"))
    serve(
        setup,
        listen=listen,
        limit=limit,
        refuse=refuse,
        note=log.event,
        preload=preload,
        settle=settle,
        stamp=partial(tls_stamp, etc),
        warm=b"" if quick else b"LHLO me\r\n" if lmtp else b"EHLO me\r\n",
    )


def _rehearse(
    config: Config, spool: str, pretended: str, *, tls: bool, submission: bool, lmtp: bool
) -> None:
    """Serve a session that leaves nothing behind."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from mailtools.commands.beliefs import exempt_of
    from mailtools.net.session import Peer, run_session
    from mailtools.net.stream import Stream
    from mailtools.services.reception.greylist import Greylist
    from mailtools.services.reception.rehearsal import read_pretended, rehearse

    address, hello = read_pretended(pretended)
    with TemporaryDirectory(prefix="smtpd-accept.") as folder:
        queue = f"{folder}/queue"
        service = build(config, queue, tls=tls, submission=submission, lmtp=lmtp)
        Queue(queue).create()
        belief = service.policy.belief
        if belief is not None and belief.greylist is not None:
            delay, exempt = config.seconds("greylist"), exempt_of(config)
            real = Greylist(f"{spool}/greylist", delay, frozen=True, exempt=exempt)
            service.policy = service.policy._replace(belief=replace(belief, greylist=real))
        stream = Stream()

        def session(stream: Stream, peer: Peer) -> None:
            rehearse(service, stream, address, hello, lambda text: click.echo(text, err=True))

        try:
            run_session(session, stream, Peer(address), log.event)
        finally:
            stream.close()


def build(
    config: Config,
    queue: str,
    *,
    tls: bool,
    submission: bool,
    lmtp: bool,
    qmtp: bool = False,
    qmqp: bool = False,
    listener: bool = False,
) -> SmtpService:
    """Read the settings, and make the service of them; raise Misconfigured with all faults."""
    me, separators = config.line("me"), config.line("extension-separators")
    accounts = accounts_of(config, state=f"{os.path.dirname(queue)}/accounts")
    context = tls_of(
        config,
        needed=tls,
        accounts=accounts if submission else None,
        protocols=() if lmtp or qmtp or qmqp else ("smtp", "esmtp"),
    )
    directory = directory_of(config, accounts)
    home, quick = directory.home, qmtp or qmqp
    known = config.file("accounts") or (config.flag("system-users") and accounts.elsewhere.anybody)
    wanted = submission or config.flag("exchange-login")
    logins = bool(known) and wanted and not (lmtp or quick)
    policy = Policy(
        me=me,
        queue=Queue(queue),
        directory=directory,
        accounts=accounts if logins else None,
        relay_clients=networks_of(config, "relay-clients"),
        relay_domains=relay_domains_of(config),
        xclient_clients=networks_of(config, "xclient-clients"),
        submission=Submission(accounts, directory, home, separators)
        if logins or submission
        else None,
        clients_only=submission,
        lmtp=lmtp,
        check_mailboxes=not qmqp,
        starttls=context is not None and not tls,
        plaintext_login=config.flag("plaintext-login"),
        hops=config.number("hops"),
        room=Room(queue, config.octets("disk-floor"), config.number("inode-floor")),
        hide_client=config.flag("hide-clients"),
        home=home,
        authserv_id="" if lmtp else config.line("authserv-id"),
        screen=_screen(config, queue),
        belief=None
        if submission or lmtp or qmqp
        else _belief(config, queue, home, listener=listener),
        budget=None if lmtp or quick else _budget(config, queue, home),
        milters=_milters(config, submission=submission, listener=listener),
        crowd=_crowd(config, listener=listener),
        tarpit=config.seconds("tarpit"),
        correspondents=None if lmtp else _correspondents(config, queue),
        rejects=None if submission or lmtp else _rejects(config, queue, directory),
    )
    settings = Settings(
        name=me,
        size=config.octets("message-size"),
        recipients=config.number("recipients"),
        lmtp=lmtp,
        submission=submission,
        qualify=home if submission else "",
        starttls=policy.starttls,
        mend_lines=config.line("bare-newlines") == "mend",
        greet_delay=0.0 if submission or lmtp or tls else config.seconds("greet-delay"),
    )
    proxies = networks_of(config, "proxies")
    if (newlines := config.line("bare-newlines")) not in ("reject", "mend"):
        config.fault("bare-newlines", 1, f"{newlines!r} is neither reject nor mend")
    config.check()
    if policy.accounts is not None and (listener or os.geteuid() == 0):
        from mailtools.services.access.ready import make_ready  # a login's, ahead of it

        make_ready(policy.accounts)
    if listener:  # what processes need is loaded before they are forked
        for make in (policy.rejects, policy.correspondents):
            if make is not None:
                make()
    spoken = _quick(settings, queue, home, qmqp=qmqp) if quick else None
    return SmtpService(policy, settings, context, tls, proxies, quick=spoken)


def _quick(settings: Settings, queue: str, home: str, *, qmqp: bool) -> Quick:
    from mailtools.protocol.qmtp import package  # few sites speak it
    from mailtools.services.reception.quick import Quick

    most, paths = settings.size, settings.recipients
    return Quick(package.Settings(most, paths, qmqp, home if qmqp else ""), queue)


def _nothing(failure: Failure) -> bytes:
    """Say nothing: who hears no answer to a package tries again later (qmtp.txt 2)."""
    return b""


def _screen(config: Config, queue: str) -> Callable[[Mapping[str, str]], Entries] | None:
    programs = tuple(config.lines("content-programs"))
    if not programs:
        return None
    from mailtools.services.reception.content import Content, Screened  # few sites have any

    content, entries = Content(programs), Queue(queue)
    return lambda told: Screened(content, entries, told)


def _milters(config: Config, *, submission: bool, listener: bool) -> Milters | None:
    if not config.lines("milters"):
        return None
    from mailtools.commands.milters import milters_of  # few sites have any

    return milters_of(config, submission=submission, ready=listener)


def _belief(config: Config, queue: str, home: str, *, listener: bool) -> Belief | None:
    mode = config.line("checks")
    if mode not in ("off", "mark", "enforce"):
        config.fault("checks", 1, f"{mode!r} is none of off, mark, enforce")
    if mode == "off":
        return None
    from mailtools.commands.beliefs import belief_of  # DNS and cryptography: 150 ms

    ready = listener or os.geteuid() == 0
    return belief_of(config, spool=os.path.dirname(queue), home=home, ready=ready)


def _rejects(config: Config, queue: str, directory: Directory) -> Callable[[], Rejects] | None:
    usual, authserv_id = float(config.seconds("rejects")), config.line("authserv-id")
    if not config.file("accounts") and not usual:
        return None

    def make() -> Rejects:
        from mailtools.services.reception.rejects import Rejects  # at the first message

        return Rejects(Queue(queue), directory, usual, authserv_id)

    return make


def _correspondents(config: Config, queue: str) -> Callable[[], Correspondents] | None:
    if not config.seconds("greylist"):
        return None

    def make() -> Correspondents:
        from mailtools.services.reception.greylist import Correspondents  # at the first message

        return Correspondents(f"{os.path.dirname(queue)}/greylist")

    return make


def _budget(config: Config, queue: str, home: str) -> Budget | None:
    user, domains = config.number("user-budget"), {}
    for name, text in config.mapping("domain-budget").items():
        if text.isascii() and text.isdigit():
            domains[name] = int(text)
        else:
            config.fault("domain-budget", 0, f"{text!r} is not a whole number")
    if not user and not domains and not config.file("accounts"):
        return None  # nobody can authenticate
    from mailtools.services.reception.budget import Budget

    return Budget(
        f"{os.path.dirname(queue)}/budget", Queue(queue), home, config.line("me"), user, domains
    )


def _crowd(config: Config, *, listener: bool) -> Crowd | None:
    at_once = config.number("client-connections")
    connections, messages = config.number("client-rate"), config.number("client-messages")
    words = config.line("client-prefixes").split()
    bits = tuple(int(word) if word.isascii() and word.isdigit() else -1 for word in words)
    if len(bits) != 2 or not 0 <= bits[0] <= 32 or not 0 <= bits[1] <= 128:
        config.fault("client-prefixes", 1, "two numbers expected: bits of IPv4, bits of IPv6")
        return None
    if not listener or not (at_once or connections or messages):
        return None
    from mailtools.net.crowd import Crowd

    return Crowd(at_once=at_once, connections=connections, messages=messages, prefixes=bits)
