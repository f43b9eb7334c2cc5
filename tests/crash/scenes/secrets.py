"""App passwords and DKIM keys: what was shown or said to be so is so; nothing half-written."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

from crash.scenario import Say, Scenario

from mailtools.net.dns import Answer
from mailtools.services.access.app_passwords import AppPassword, AppPasswords
from mailtools.services.publish.dkim_rotation import Rotation
from mailtools.services.publish.dkim_store import DkimStore
from mailtools.services.relay.dkim_keys import State
from mailtools.trust import keys
from mailtools.trust.keys import KeyKind, PrivateKey

NOW = 1_700_000_000.0
DAY = 86400.0
OLD = "aaaabbbbccccddddeeee"


# -- app passwords --------------------------------------------------------------------------------


def passwords(folder: Path) -> AppPasswords:
    return AppPasswords(str(folder / "app-passwords"), str(folder / "last-use"))


def one_password(folder: Path) -> None:
    line = AppPassword("bob@example.org", "old", (), (), "", "2023-11-14", f"{{PLAIN}}{OLD}").line()
    (folder / "app-passwords").write_text(f"# devices\n{line}\n")


def change_passwords(folder: Path, say: Say) -> None:
    known = passwords(folder)
    say(f"new {known.add('bob@example.org', 'new', services=['imap'])}")
    known.remove("bob@example.org", "old")
    say("old removed")


def check_passwords(folder: Path, said: list[str]) -> None:
    known = passwords(folder)
    names = [one.name for one in known.of("bob@example.org")]
    assert names in (["old"], ["old", "new"], ["new"])
    works = known.use("bob@example.org", OLD, "imap", "192.0.2.1")
    assert works == ("old" in names)
    if "old removed" in said:
        assert not works, "a revoked password works"
    for line in said:
        if line.startswith("new "):
            password = line.removeprefix("new ")
            assert known.use("bob@example.org", password, "imap", "192.0.2.1"), "shown, and gone"


# -- DKIM keys on their way -----------------------------------------------------------------------


_new_key = keys.new_private_key


@cache
def some_key(number: int) -> PrivateKey:
    return _new_key("ed25519")


def always_the_same() -> Callable[[KeyKind], PrivateKey]:
    """Make keys that are the same in each run: to find a new one each time would take long."""
    numbers = iter(range(100))
    return lambda kind: some_key(next(numbers))


def no_keys(folder: Path) -> None:
    (folder / "dkim-keys").write_text("# keys\n")


def everything_in_dns(folder: Path) -> Callable[[str, str], Answer]:
    """DNS that shows every key there is."""
    store = DkimStore(str(folder))

    def lookup(name: str, rrtype: str) -> Answer:
        found = [line for line in store.lines() if line.name == name]
        return Answer(tuple(store.load(line).record() for line in found))

    return lookup


def turn(folder: Path, now: float) -> None:
    store = DkimStore(str(folder))
    Rotation(store, everything_in_dns(folder), now, every=DAY, keep=DAY).turn()


def rotate(folder: Path, say: Say) -> None:
    with mock.patch.object(keys, "new_private_key", always_the_same()):
        DkimStore(str(folder)).add("example.org", "ed25519", "", NOW)
        say("added")
        for day in range(4):  # it signs; a new one is made; that one signs; the old one goes
            turn(folder, NOW + 2 * day * DAY)
            say(f"turn {day}")


def check_rotate(folder: Path, said: list[str]) -> None:
    for file in (folder / "dkim").glob("*"):
        file.chmod(0o600)  # permissions are not modelled
    store = DkimStore(str(folder))
    lines = store.lines()
    for line in lines:
        store.load(line)  # relay-send does: a line without its key would keep mail
    signing = [line for line in lines if line.state is State.SIGNING]
    assert len(signing) <= 1
    if "added" in said:
        assert lines, "a key that was shown is gone"
    if "turn 0" in said:
        assert signing, "mail goes out unsigned"
    with mock.patch.object(keys, "new_private_key", always_the_same()):
        if not lines:
            store.add("example.org", "ed25519", "", NOW)
        for day in range(6):  # from whatever was left it goes on its way
            turn(folder, NOW + (20 + 2 * day) * DAY)
    last = store.lines()
    assert len([line for line in last if line.state is State.SIGNING]) == 1
    assert len(last) <= 3


SCENARIOS = [
    Scenario("app-passwords", one_password, change_passwords, check_passwords, stops=8),
    # The folder of keys is synced with the first line; that a retired key goes may be undone.
    Scenario("dkim-rotation", no_keys, rotate, check_rotate, stops=20, spare={".": 2, "dkim": 1}),
]
