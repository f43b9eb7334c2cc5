"""imapd: IMAP on the connection, or as a listener."""

from functools import partial

import click

from mailtools import log
from mailtools.cli import command, etc_option, listen_options, spool_option
from mailtools.commands.parts import door_of, tls_stamp
from mailtools.config import Config
from mailtools.net.serve import serve
from mailtools.net.session import Session
from mailtools.protocol.imap.server import refusal
from mailtools.services.imap.session import imap_service, open_maildir, preload, serve_maildir


@command("imapd")
@etc_option
@spool_option
@listen_options
@click.option(
    "--maildir", metavar="DIR", help="Serve this Maildir; the session is logged in already."
)
def main(
    *, etc: str, spool: str, listen: tuple[str, ...], limit: int, tls: bool, maildir: str
) -> None:
    """Let IMAP readers at their Maildirs (IMAP4rev1, RFC 3501)."""
    if maildir and (listen or tls):
        raise click.UsageError("--maildir serves one connection: it takes no --listen, no --tls")
    setup = partial(_by_hand, etc, maildir) if maildir else partial(_service, etc, spool, tls)
    serve(
        setup,
        listen=listen,
        limit=limit,
        refuse=refusal,
        note=log.event,
        preload=preload,
        stamp=partial(tls_stamp, etc),
        warm=b"a CAPABILITY\r\n",
    )


def _by_hand(etc: str, path: str) -> Session:
    config = Config(etc)
    append_limit = config.octets("message-size")
    config.check()
    return partial(serve_maildir, open_maildir(path, append_limit))


def _service(etc: str, spool: str, tls: bool) -> Session:
    config = Config(etc)
    door = door_of(config, spool, tls=tls, protocol="imap")
    append_limit = config.octets("message-size")
    config.check()
    return imap_service(door, append_limit).session
