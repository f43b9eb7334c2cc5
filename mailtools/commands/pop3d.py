"""pop3d: POP3 on the connection, or as a listener."""

from functools import partial

import click

from mailtools import log
from mailtools.cli import command, etc_option, listen_options, spool_option
from mailtools.commands.parts import door_of, tls_stamp
from mailtools.config import Config
from mailtools.net.serve import serve
from mailtools.net.session import Session
from mailtools.protocol.pop3.session import refusal
from mailtools.services.pop3.session import open_maildir, pop3_service, preload, serve_maildir


@command("pop3d")
@etc_option
@spool_option
@listen_options
@click.option(
    "--maildir", metavar="DIR", help="Serve this Maildir; the session is logged in already."
)
def main(
    *, etc: str, spool: str, listen: tuple[str, ...], limit: int, tls: bool, maildir: str
) -> None:
    """Let POP3 readers at their Maildirs (RFC 1939)."""
    if maildir and (listen or tls):
        raise click.UsageError("--maildir serves one connection: it takes no --listen, no --tls")
    setup = partial(_by_hand, maildir) if maildir else partial(_service, etc, spool, tls)
    serve(
        setup,
        listen=listen,
        limit=limit,
        refuse=refusal,
        note=log.event,
        preload=preload,
        stamp=partial(tls_stamp, etc),
        warm=b"CAPA\r\n",
    )


def _by_hand(path: str) -> Session:
    return partial(serve_maildir, open_maildir(path))


def _service(etc: str, spool: str, tls: bool) -> Session:
    config = Config(etc)
    door = door_of(config, spool, tls=tls, protocol="pop3")
    config.check()
    return pop3_service(door).session
