"""click's edges: shared options, and every failure as one line on stderr and an exit code."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from typing import Any, TypeVar

import click

from mailtools import __version__, log
from mailtools.errors import BadAddress, Failure
from mailtools.mail.reply import one_line

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")

MANY = 200  # items from which on a terminal is shown how far the work is

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """A click command that ends as sysexits(3) says, without a traceback for what can happen."""

    config_exit = os.EX_CONFIG
    """The exit code for a broken control folder."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and exit."""
        extra["standalone_mode"] = False
        sys.exit(guarded(lambda: super(Command, self).main(*args, **extra), self.config_exit))


class MailerCommand(Command):
    """A command that other mailers call: they take 75 alone for "try later"."""

    config_exit = os.EX_TEMPFAIL


def guarded(body: Callable[[], object], config_exit: int = os.EX_CONFIG) -> int:
    """Run `body` and give the exit code; say a failure in a line on stderr."""
    if isinstance(sys.stdout, TextIOWrapper):  # what mail says, a terminal may have no letters for
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result = body()
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return os.EX_USAGE
    except click.ClickException as error:
        error.show()
        return os.EX_DATAERR
    except Failure as failure:
        complain(failure)
        return config_exit if failure.exit == os.EX_CONFIG else failure.exit
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the last flush is quiet too
        return os.EX_OK
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception:
        import traceback

        for line in traceback.format_exc().splitlines():
            log.line(line)  # not on stderr where that is the peer
        return os.EX_TEMPFAIL  # a bug of ours must not make a calling mailer bounce
    return result if isinstance(result, int) else os.EX_OK


def complain(failure: Failure) -> None:
    """Say a failure in the log's place, every line of its detail behind the command's name."""
    name = os.path.basename(sys.argv[0])
    for line in (failure.detail or failure.text).split("\n"):
        log.line(f"{name}: {one_line(line)}")  # it may be a terminal


def command(
    name: str, *, mailer: bool = False, rest: bool = False
) -> Callable[[Callable[..., object]], click.Command]:
    """Declare a command: its function's docstring is the help; `mailer` for agents and sendmail.

    `rest`: from the first argument on, all words are arguments, also those that begin with `-`.
    """

    def declare(function: Callable[..., object]) -> click.Command:
        versioned = click.version_option(__version__, message="%(prog)s (mailtools) %(version)s")(
            function
        )
        kind = MailerCommand if mailer else Command
        settings = {**_SETTINGS, "allow_interspersed_args": not rest}
        return click.command(name, cls=kind, context_settings=settings)(versioned)

    return declare


def need_addresses(*words: str) -> None:
    """Raise BadAddress, which names the first word that is no address."""
    from mailtools.mail.address import parse_address  # most commands take none

    for word in words:
        try:
            parse_address(word)
        except BadAddress as failure:
            raise BadAddress(detail=f"{word!r}: {failure.text}") from failure


def etc_option(function: F) -> F:
    """Add `--etc DIR`, the control folder."""
    return click.option(
        "--etc",
        metavar="DIR",
        envvar="MAILTOOLS_ETC",
        default="/etc/mailtools",
        show_default=True,
        help="The control folder, mailtools-control(5).",
    )(function)


def spool_option(function: F) -> F:
    """Add `--spool DIR`, what holds the queue."""
    return click.option(
        "--spool",
        metavar="DIR",
        envvar="MAILTOOLS_SPOOL",
        default="/var/spool/mailtools",
        show_default=True,
        help="The spool: DIR/queue is the queue, mailtools-queue(5).",
    )(function)


def listen_options(function: F) -> F:
    """Add `--listen`, `--limit` and `--tls`, for the servers."""
    function = click.option(
        "--tls", is_flag=True, help="Start TLS at once, before the greeting (RFC 8314)."
    )(function)
    function = click.option(
        "--limit",
        metavar="N",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="The most sessions at a time, for a listener.",
    )(function)
    return click.option(
        "--listen",
        metavar="HOST:PORT",
        multiple=True,
        help="Listen here instead of serving the connection on stdin; may be given again.",
    )(function)


def progress(
    items: Iterable[T], label: str, *, talks: bool, number: int | None = None
) -> Iterator[T]:
    """Yield items and show on stderr how many are done, where they are many and it is a terminal.

    `talks`: each of them is written to stdout; then not where that is a terminal too. `number` says
    how many there are, where they are no sequence.
    """
    if number is None:
        number = len(items) if isinstance(items, Sequence) else 0
    quiet = number < MANY or not sys.stderr.isatty() or (talks and sys.stdout.isatty())
    if quiet:
        yield from items
        return
    with click.progressbar(items, number, label=label, file=sys.stderr) as bar:
        yield from bar
