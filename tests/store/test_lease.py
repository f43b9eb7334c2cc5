"""The lease of a shared queue: one owner, takeover when it is too old, nobody resurrected."""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mailtools.store.lease import Lease, Owner

LASTS = 60.0


def lease(folder: Path, host: str) -> Lease:
    return Lease(str(folder / "owner"), Owner(host, 7, f"boot-{host}"), LASTS)


def grow_old(folder: Path) -> None:
    for path in (folder / "owner").iterdir():
        os.utime(path, (0, path.stat().st_mtime - LASTS - 5))


def test_one_has_it_until_it_is_given_back(tmp_path: Path) -> None:
    one, two = lease(tmp_path, "a"), lease(tmp_path, "b")
    assert one.take()
    assert one.holder == ""
    assert not two.take()
    assert two.holder == "a 7 boot-a"
    assert one.renew()
    one.release()
    assert two.take()
    assert two.holder == ""
    assert not one.renew()
    assert [path.read_text() for path in (tmp_path / "owner").iterdir()] == ["b 7 boot-b\n"]


def test_who_shows_no_sign_of_life_is_followed_and_sees_it(tmp_path: Path) -> None:
    one, two = lease(tmp_path, "a"), lease(tmp_path, "b")
    one.take()
    grow_old(tmp_path)
    assert one.renew()  # nobody else wanted it
    assert not two.take()
    grow_old(tmp_path)
    assert two.take()
    assert two.holder == "a 7 boot-a"
    assert not one.renew()
    one.release()  # which is not its to release
    assert not lease(tmp_path, "c").take()


def test_the_same_boot_of_the_same_host_follows_itself_at_once(tmp_path: Path) -> None:
    lease(tmp_path, "a").take()
    assert lease(tmp_path, "a").take()


def test_an_owner_being_written_is_an_owner(tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "000004").write_text("")
    assert not lease(tmp_path, "a").take()
    grow_old(tmp_path)
    assert lease(tmp_path, "a").take()
    assert [path.name for path in (tmp_path / "owner").iterdir()] == ["000005"]


def test_what_was_read_long_ago_takes_nothing(tmp_path: Path) -> None:
    late, two, three = (lease(tmp_path, host) for host in "abc")
    lease(tmp_path, "x").take()
    grow_old(tmp_path)
    read = late._numbers()
    two.take()
    grow_old(tmp_path)
    three.take()
    answers = iter([read])
    true = late._numbers
    late._numbers = lambda: next(answers, None) or true()  # type: ignore[method-assign]
    late._is_free = lambda number: True  # type: ignore[method-assign]
    assert not late.take()
    assert three.renew()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("tnro")), max_size=25))
def test_never_two_that_may_go_on(tmp_path_factory, steps: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("lease")
    hosts = {host: lease(folder, host) for host in "abc"}
    owner = ""
    for host, step in steps:
        if step == "t" and host != owner:
            if hosts[host].take():
                owner = host
        elif step == "n":
            assert hosts[host].renew() == (host == owner)
        elif step == "r":
            hosts[host].release()
            owner = "" if host == owner else owner
        elif step == "o" and (folder / "owner").exists():
            grow_old(folder)
    assert sum(one.renew() for one in hosts.values()) <= 1
