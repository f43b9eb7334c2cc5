"""Files that users may write: a number of thousands of digits is no number, and no traceback."""

from pathlib import Path

import pytest

from mailtools.errors import Misconfigured
from mailtools.services.access.accounts import Accounts
from mailtools.store.keywords import Keywords
from mailtools.store.maildir import Maildir
from mailtools.store.quota import Quota, Usage
from mailtools.store.uidlist import UidList

ENDLESS = "9" * 6000


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(str(tmp_path / "Maildir"))
    made.create()
    return made


def test_keywords(maildir: Maildir) -> None:
    Path(maildir.path, "dovecot-keywords").write_text(f"{ENDLESS} x\n0 y\n")
    assert Keywords(UidList(maildir)).names() == ["y"]


def test_the_list_of_uids(maildir: Maildir) -> None:
    Path(maildir.path, "dovecot-uidlist").write_text(f"3 V{ENDLESS} N{ENDLESS}\n")
    uids = UidList(maildir)
    assert uids.sync(maildir.messages(fresh=True)) == []
    assert uids.uidvalidity < 1 << 32


def test_quota(maildir: Maildir) -> None:
    Path(maildir.path, "maildirsize").write_text(f"{ENDLESS}S,1C\n{ENDLESS} 1\n")
    assert Quota(maildir.path).usage() == Usage(0, 0)


@pytest.mark.parametrize("number", [ENDLESS, "1\0"])
def test_accounts(tmp_path: Path, number: str) -> None:
    (tmp_path / "accounts").write_text(f"bob:{{PLAIN}}x:{number}:{number}::/home/bob::\n")
    with pytest.raises(Misconfigured) as caught:
        Accounts(str(tmp_path / "accounts")).everyone()
    assert "neither a number nor a user" in caught.value.detail
