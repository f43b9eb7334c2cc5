"""Who may read the files of a site: asked as the queue's owner himself."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailtools.services.check import check_access
from mailtools.services.check.check_access import Reader

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
MAIL = pwd.getpwnam("mail")
READER = Reader(MAIL.pw_uid, MAIL.pw_gid)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that anybody may pass, other than pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_key_that_is_root_s_is_a_warning_and_says_how_he_gets_it(folder: Path) -> None:
    key = folder / "privkey.pem"
    key.touch(0o600)
    (found,) = check_access.keys([str(key)], READER)
    assert found.weight == "warning"
    assert found.what.startswith("the queue's owner, mail, cannot read it; no TLS, then, for a ")
    assert found.mend == f"chgrp mail {key} && chmod g+r {key}"
    os.chown(key, 0, MAIL.pw_gid)
    key.chmod(0o640)
    assert not list(check_access.keys([str(key)], READER))


def test_a_folder_on_the_way_that_is_closed_is_named(folder: Path) -> None:
    live = folder / "live"
    (live / "mail.example.org").mkdir(parents=True)
    key = live / "mail.example.org" / "privkey.pem"
    key.touch(0o644)
    live.chmod(0o700)
    (found,) = check_access.settings([str(key)], READER)
    assert found.what == f"the queue's owner, mail, cannot read it: {live} is closed to him"
    assert found.mend.startswith(f"chmod o+x {live}, or: install -m 640 -g mail {key} ")


def test_a_secret_that_others_can_read_is_closed_to_all_but_him(folder: Path) -> None:
    secret = folder / "accounts"
    secret.touch(0o644)
    (found,) = check_access.modes([], [str(secret)], READER)
    assert found.mend == f"chgrp mail {secret} && chmod 640 {secret}"
    (found,) = check_access.modes([], [str(secret)], None)  # all is ours
    assert found.mend == f"chmod o= {secret}"
