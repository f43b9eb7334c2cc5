"""Giving up root for the owner of the queue."""

import os
import pwd
import re
from pathlib import Path

import pytest

from mailtools.services.access import become


def test_the_owner_of_the_queue_keeps_the_groups_that_the_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = pwd.getpwnam("mail")
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(become, "owner_of", lambda path: (owner.pw_uid, owner.pw_gid))
    for name in ("setgroups", "initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *words, name=name: called.append((name, *words)))
    become.become_owner(str(tmp_path))
    assert called == [
        ("setgroups", [owner.pw_gid]),
        ("initgroups", "mail", owner.pw_gid),
        ("setgid", owner.pw_gid),
        ("setuid", owner.pw_uid),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_that_root_made_for_somebody_is_not_his_as_root_s_group(tmp_path: Path) -> None:
    owner, spool = pwd.getpwnam("mail"), tmp_path / "spool"
    spool.mkdir()
    os.chown(spool, owner.pw_uid, 0)  # install -d -o mail
    assert become.owner_of(str(spool / "queue")) == (owner.pw_uid, owner.pw_gid)
    os.chown(spool, owner.pw_uid, 4)  # a group that somebody chose
    assert become.owner_of(str(spool)) == (owner.pw_uid, 4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_who_is_not_the_queue_s_owner_hears_whose_it_is(tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    queue.mkdir()
    owner = pwd.getpwnam("mail")
    os.chown(queue, owner.pw_uid, owner.pw_gid)
    queue.chmod(0o700)
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        os.setuid(65534)
        os.write(writer, become.closed_to_us(str(queue)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with open(reader) as said:
        text = said.read()
    # pytest's folder is root's alone; where it is open, the queue's owner is named.
    assert re.fullmatch(rf"{queue} may be read by (mail and )?root only", text)
