"""Accounts and app passwords as lines, with TABs or in JSON; never a secret."""

from collections.abc import Iterator
from typing import Any

from mailtools.services.access import schemes
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.app_passwords import AppPasswords


def accounts(site: Accounts, *, as_json: bool = False) -> Iterator[str]:
    """Yield a line an account: login, uid, gid, scheme ("-": no password fits), Maildir."""
    for one in site.everyone():
        scheme = "-" if schemes.locked(one.secret) else schemes.split(one.secret)[0]
        row = {
            "login": one.name,
            "uid": one.uid,
            "gid": one.gid,
            "scheme": scheme,
            "maildir": one.maildir,
        }
        yield _line(row, as_json)


def app_passwords(store: AppPasswords, login: str, *, as_json: bool = False) -> Iterator[str]:
    """Yield a line an app password: name, services, networks, expiry, creation, last use."""
    for one in store.of(login):
        row = {
            "name": one.name,
            "services": ",".join(one.services) or "all",
            "networks": ",".join(one.networks) or "all",
            "expires": one.expires or "never",
            "created": one.created,
            "last_use": store.last_use(one) or "never",
        }
        yield _line(row, as_json)


def _line(row: dict[str, Any], as_json: bool) -> str:
    if as_json:
        import json  # only where it is asked for

        return json.dumps(row)
    return "\t".join(str(value) for value in row.values())
