"""mail-account: the accounts file, edited whole and safely."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import accounts_of, mailbox_owner
from mailtools.config import Config
from mailtools.errors import NoSuchMailbox, Usage
from mailtools.services.access import account_list, passwords
from mailtools.services.access.account_book import LOCKED, AccountBook
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.become import owner_of
from mailtools.services.access.text_file import OURS_ALONE, Rights

_ALLOWED = {  # verb: names it takes, options it takes
    "add": (
        "LOGIN",
        {"home", "uid", "gid", "gecos", "maildir", "scheme", "no_password", "services", "networks"},
    ),
    "passwd": ("LOGIN", {"scheme", "no_password"}),
    "remove": ("LOGIN", set()),
    "list": ("", {"json"}),
    "app-password": ("add|list|remove LOGIN [NAME]", {"services", "networks", "expires", "json"}),
}


@dataclass(frozen=True, slots=True)
class _Site:
    book: AccountBook
    accounts: Accounts


@command("mail-account")
@etc_option
@spool_option
@click.option("--home", metavar="DIR", default="", help="add: the home of the mailbox.")
@click.option("--uid", metavar="USER", default="", help="add: who owns the mailbox.")
@click.option("--gid", metavar="GROUP", default="", help="add: its group.")
@click.option("--gecos", metavar="NAME", default="", help="add: the user's full name.")
@click.option("--maildir", metavar="DIR", default="", help="add: a Maildir of its own.")
@click.option("--scheme", metavar="SCHEME", default="", help="add, passwd: how to keep it.")
@click.option("--no-password", is_flag=True, help="add, passwd: nobody can log in.")
@click.option("--services", metavar="LIST", default="", help="add, app-password: for these only.")
@click.option("--networks", metavar="LIST", default="", help="add, app-password: from these only.")
@click.option("--expires", metavar="YYYY-MM-DD", default="", help="app-password: its last day.")
@click.option("--json", is_flag=True, help="list, app-password list: a JSON object a line.")
@click.argument("verb", type=click.Choice(list(_ALLOWED)))
@click.argument("names", nargs=-1)
def main(etc: str, spool: str, verb: str, names: tuple[str, ...], **options: str | bool) -> None:
    """Add, change, remove and list the users of this mail server.

    \b
    mail-account add LOGIN         the password is asked for, or the first line of stdin
    mail-account passwd LOGIN
    mail-account remove LOGIN      the Maildir stays
    mail-account list
    mail-account app-password add|list|remove LOGIN [NAME]
    """
    takes, allowed = _ALLOWED[verb]
    for option, value in options.items():
        if value and option not in allowed:
            raise Usage(f"{verb} takes no --{option.replace('_', '-')}")
    config = Config(etc)
    owner, new = mailbox_owner(config), _readers(f"{spool}/queue")
    book = AccountBook(f"{etc}/accounts", config.line("maildir"), owner, new)
    site = _Site(book, accounts_of(config, state=f"{spool}/accounts"))
    config.check()
    counts = {"list": (0,), "app-password": (2, 3)}.get(verb, (1,))
    if len(names) not in counts:
        raise Usage(f"usage: mail-account {verb} {takes}".rstrip())
    actions: dict[str, Callable[..., None]] = {
        "add": _add, "passwd": _passwd, "remove": _remove, "list": _list, "app-password": _app,
    }  # fmt: skip
    actions[verb](site, *names, **options)


def _readers(queue: str) -> Rights:
    """Say who may read a new file of secrets: the owner of the queue too, whom servers become."""
    uid, gid = owner_of(queue) if os.geteuid() == 0 else (0, 0)
    return Rights(0, gid, 0o640) if uid else OURS_ALONE


def _add(site: _Site, login: str, **options: str) -> None:
    secret = LOCKED if options["no_password"] else passwords.make(_ask(), options["scheme"])
    site.book.add(
        login,
        secret,
        uid=options["uid"],
        gid=options["gid"],
        gecos=options["gecos"],
        home=options["home"],
        fields={
            "maildir": options["maildir"],
            "services": options["services"],
            "allow_nets": options["networks"],
        },
    )


def _passwd(site: _Site, login: str, **options: str) -> None:
    _need(site, login)
    secret = LOCKED if options["no_password"] else passwords.make(_ask(), options["scheme"])
    site.book.set_secret(login, secret)


def _remove(site: _Site, login: str, **options: str) -> None:
    site.book.remove(login)


def _list(site: _Site, **options: str) -> None:
    for line in account_list.accounts(site.accounts, as_json=bool(options["json"])):
        click.echo(line)


def _app(site: _Site, action: str, login: str, name: str = "", **options: str) -> None:
    store, account = site.accounts.app_passwords, _need(site, login)
    if action == "list" and not name:
        for line in account_list.app_passwords(store, account, as_json=bool(options["json"])):
            click.echo(line)
    elif action == "add" and name:
        password = store.add(
            account,
            name,
            services=_words(options["services"]),
            networks=_words(options["networks"]),
            expires=options["expires"],
        )
        click.echo(password)
    elif action == "remove" and name:
        if not store.remove(account, name):
            raise NoSuchMailbox(f"{account} has no app password called {name}")
    else:
        raise Usage("usage: mail-account app-password add|list|remove LOGIN [NAME]")


def _need(site: _Site, login: str) -> str:
    account = site.accounts.find(login)
    if account is None:
        raise NoSuchMailbox(f"There is no account {login} in {site.book.path}")
    return account.name


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _ask() -> str:
    """Ask for a password on a terminal, or read the first line of stdin: never an argument."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline().removesuffix("\n")
    if not line:
        raise Usage("The password is expected as the first line of stdin")
    return line
