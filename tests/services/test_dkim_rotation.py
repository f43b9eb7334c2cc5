"""Keys on their way, day by day in simulated time, with a DNS made of a dict."""

import calendar
import contextlib

import pytest

from mailtools.errors import BadAddress, DnsTrouble, Failure, Misconfigured
from mailtools.net.dns import Answer
from mailtools.services.publish.dkim_rotation import OK, Rotation, published
from mailtools.services.publish.dkim_store import DkimStore, zone_line
from mailtools.services.relay.dkim_keys import State
from mailtools.store import disk
from mailtools.trust.keys import new_private_key

DAY = 86400.0
START = calendar.timegm((2026, 11, 23, 20, 5, 0))
FIRST = "20261123-rsa"


class Dns:
    def __init__(self):
        self.records = {}
        self.down = False

    def __call__(self, name, rrtype):
        assert rrtype == "TXT"
        if self.down:
            raise DnsTrouble("no answer")
        return Answer(tuple(self.records.get(name, ())), name in self.records)

    def publish(self, store, selector):
        line = next(line for line in store.lines() if line.selector == selector)
        self.records[line.name] = [store.load(line).record()]


@pytest.fixture
def dns():
    return Dns()


@pytest.fixture
def store(tmp_path):
    return DkimStore(str(tmp_path))


def turn(store, dns, day, domain=""):
    rotation = Rotation(store, dns, START + day * DAY, every=180 * DAY, keep=14 * DAY)
    return rotation.turn(domain), rotation.trouble


def states(store):
    return {line.selector: str(line.state) for line in store.lines()}


def test_the_life_of_a_key(store, dns, tmp_path):
    store.add("example.org", "rsa", "", START)
    assert states(store) == {FIRST: "waiting"}
    said, _ = turn(store, dns, 1)
    assert said[0] == f"{FIRST}._domainkey.example.org: not in DNS; publish:"
    assert said[1] == zone_line(store.lines()[0], store.load(store.lines()[0]))
    assert states(store) == {FIRST: "waiting"}
    dns.publish(store, FIRST)
    assert turn(store, dns, 2)[0] == [f"{FIRST}._domainkey.example.org: signs from now on"]
    assert states(store) == {FIRST: "signing"}
    assert [day for day in range(3, 182) if turn(store, dns, day)[0]] == []
    assert "a new key; publish:" in turn(store, dns, 182)[0][0]
    selector = next(name for name in states(store) if name != FIRST)
    assert states(store) == {FIRST: "signing", selector: "waiting"}
    dns.publish(store, selector)
    turn(store, dns, 190)
    assert states(store) == {FIRST: "retired", selector: "signing"}
    assert turn(store, dns, 203)[0] == []
    said, _ = turn(store, dns, 204)
    assert said == [f"{FIRST}._domainkey.example.org: removed; withdraw its record"]
    assert states(store) == {selector: "signing"}
    assert [path.name for path in (tmp_path / "dkim").iterdir()] == [
        f"{selector}._domainkey.example.org.pem"
    ]


def test_kinds_and_domains_rotate_apart(store, dns):
    store.add("example.org", "rsa", "r", START)
    store.add("example.org", "ed25519", "e", START)
    store.add("example.net", "ed25519", "n", START)
    dns.publish(store, "e")
    dns.publish(store, "n")
    turn(store, dns, 1, "example.org")
    assert states(store) == {"r": "waiting", "e": "signing", "n": "waiting"}
    turn(store, dns, 1)
    assert states(store) == {"r": "waiting", "e": "signing", "n": "signing"}
    with pytest.raises(BadAddress):
        turn(store, dns, 1, "example.com")


def test_dns_that_is_silent_changes_nothing(store, dns):
    store.add("example.org", "ed25519", "e", START)
    dns.down = True
    said, trouble = turn(store, dns, 1)
    assert trouble
    assert "no answer" in said[0]
    assert states(store) == {"e": "waiting"}


def test_comments_and_order_stay(store, dns, tmp_path):
    path = tmp_path / "dkim-keys"
    path.write_text("# ours\n\n")
    store.add("example.org", "ed25519", "e", START)
    store.add("example.net", "ed25519", "n", START)
    path.write_text(path.read_text().replace("example.net", "# the other\nexample.net"))
    dns.publish(store, "e")
    turn(store, dns, 1)
    assert path.read_text() == (
        "# ours\n\nexample.org e signing 2026-11-24T20:05Z\n"
        "# the other\nexample.net n waiting 2026-11-23T20:05Z\n"
    )


def test_a_crash_anywhere_leaves_every_named_key_there(store, dns, tmp_path, monkeypatch):
    """Each system call of a turn fails once: what dkim-keys names can be read, always."""
    call = disk._call
    stops = 0
    for stop in range(1, 60):
        for path in [*tmp_path.glob("dkim/*"), *tmp_path.glob("dkim-keys*")]:
            path.unlink()
        store.add("example.org", "ed25519", "old", START)
        store.add("example.org", "ed25519", "new", START)
        text = (tmp_path / "dkim-keys").read_text()
        (tmp_path / "dkim-keys").write_text(text.replace("old waiting", "old retired"))
        dns.publish(store, "new")
        left = stop

        def fails(function, *arguments):
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(5, "Input/output error")
            return call(function, *arguments)

        monkeypatch.setattr(disk, "_call", fails)
        with contextlib.suppress(Failure):
            turn(store, dns, 200)
        stops += left <= 0
        monkeypatch.setattr(disk, "_call", call)
        for line in store.lines():
            assert store.load(line).kind == "ed25519"
        if left > 0:
            break
    assert stops > 5


def test_a_selector_is_taken_once(store):
    store.add("example.org", "ed25519", "", START)
    store.add("example.org", "ed25519", "", START)
    assert list(states(store)) == ["20261123-ed25519", "20261123-ed25519-2"]
    with pytest.raises(BadAddress):
        store.add("example.org", "ed25519", "20261123-ed25519", START)
    with pytest.raises(BadAddress):
        store.add("example..org", "ed25519", "", START)


def test_what_dns_may_have_wrong(store, dns):
    line = store.add("example.org", "ed25519", "e", START)
    key = store.load(line)

    def found(*records):
        dns.records[line.name] = list(records)
        return published(line, key, dns)

    other = new_private_key("ed25519")
    assert published(line, key, dns) == "not in DNS"
    assert found(key.record()) == OK
    assert found(key.record().replace("v=DKIM1; ", "v=DKIM1; t=s; s=email; h=sha256; ")) == OK
    assert found(other.record()) == "DNS has another key"
    assert found(key.record(), key.record()).startswith("2 TXT records")
    assert found("v=DKIM1; k=ed25519; p=") == "revoked in DNS: p= is empty"
    assert found(new_private_key("rsa").record()) == "DNS has a key of another kind: rsa"
    assert found("v=DKIM1; k=ed25519; p=####").startswith("bad record in DNS")
    assert found("something else").startswith("bad record in DNS")
    assert "sha256" in found(f"v=DKIM1; h=sha1; k=ed25519; p={key.public_text()}")
    assert "mail" in found(f"v=DKIM1; s=tlsrpt; k=ed25519; p={key.public_text()}")
    assert "test" in found(f"v=DKIM1; t=y; k=ed25519; p={key.public_text()}")


def test_a_key_written_by_hand_ages_from_its_file(store, dns, tmp_path):
    line = store.add("example.org", "ed25519", "e", START)
    (tmp_path / "dkim-keys").write_text("example.org e\n")
    path = tmp_path / "dkim" / f"{line.name}.pem"
    disk.set_mtime(str(path), START)
    assert turn(store, dns, 179)[0] == []
    assert "a new key; publish:" in turn(store, dns, 180)[0][0]
    assert [line.state for line in store.lines()] == [State.SIGNING, State.WAITING]
    path.chmod(0o644)
    with pytest.raises(Misconfigured):
        turn(store, dns, 181)


def test_a_record_fits_into_strings(store):
    line = store.add("example.org", "rsa", "r", START)
    text = zone_line(line, store.load(line))
    strings = text.split('"')[1::2]
    assert all(len(string) <= 255 for string in strings)
    assert "".join(strings) == store.load(line).record()
