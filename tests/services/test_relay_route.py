"""Routes and the credentials that go with them."""

import threading
from pathlib import Path

import pytest

from mailtools.errors import AuthTrouble, BadAddress, Misconfigured
from mailtools.services.relay import smarthost
from mailtools.services.relay.route import Destination, Route, Routes, parse_route
from mailtools.services.relay.smarthost import Smarthosts


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("mail.example.org", Route("mail.example.org", 25)),
        ("Mail.Example.Org:2525", Route("mail.example.org", 2525)),
        ("smtp:mail.example.org", Route("mail.example.org", 25)),
        ("mail.example.org:465", Route("mail.example.org", 465, implicit_tls=True)),
        ("smtps:mail.example.org", Route("mail.example.org", 465, implicit_tls=True)),
        ("smtps:mail.example.org:2465", Route("mail.example.org", 2465, implicit_tls=True)),
        ("[192.0.2.1]", Route("192.0.2.1", 25)),
        ("Mail.bücher.example", Route("mail.xn--bcher-kva.example", 25)),
        ("mail.example.org.:26", Route("mail.example.org", 26)),
        ("192.0.2.1:26", Route("192.0.2.1", 26)),
        ("[2001:db8::1]:587", Route("2001:db8::1", 587)),
        ("[IPv6:2001:db8::1]", Route("2001:db8::1", 25)),
        ("lmtp:store.example.org", Route("store.example.org", 24, lmtp=True)),
        ("lmtp:/run/lmtp", Route("/run/lmtp", 0, lmtp=True)),
    ],
)
def test_a_route_is_read(text, route):
    assert parse_route(text) == route


@pytest.mark.parametrize(
    "text", ["", ".", "a..", "a:b", "host:99999", "[::1", "2001:db8::1", "a:1:2", "x/y"]
)
def test_what_is_no_route_is_named(text):
    with pytest.raises(Misconfigured) as caught:
        parse_route(text)
    assert repr(text) in caught.value.detail


def test_a_fault_names_its_line():
    with pytest.raises(Misconfigured) as caught:
        Routes({"example.net": "host:port"})
    assert "routes: example.net" in caught.value.detail


ROUTES = {
    "example.net": "a.test",
    ".example.net": "b.test:26",
    "direct.example.org": "",
    "": "smart.test:587",
}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("x@example.net", "a.test:25"),
        ("x@EXAMPLE.net", "a.test:25"),
        ("x@deep.sub.example.net", "b.test:26"),
        ("x@badexample.net", "smart.test:587"),
        ("x@direct.example.org", "direct.example.org"),
        ("x@[192.0.2.7]", "smart.test:587"),
        ('"a@b"@example.net', "a.test:25"),
    ],
)
def test_the_nearest_route_is_taken(address, name):
    assert Routes(ROUTES).destination(address).name == name


def test_without_routes_it_is_the_domain_in_its_ascii_form():
    routes = Routes({})
    assert routes.destination("x@Grün.example") == Destination("xn--grn-ioa.example")
    assert routes.destination("x@[192.0.2.7]").route == Route("192.0.2.7")
    assert routes.destination("x@[IPv6:2001:db8::1]").route == Route("2001:db8::1")


@pytest.mark.parametrize("address", ["x@[nonsense]", "x@a..\u00fc"])
def test_a_bad_domain_is_a_bad_address(address):
    with pytest.raises(BadAddress):
        Routes({}).destination(address)


def test_via_goes_before_all():
    routes = Routes(ROUTES, via=parse_route("via.test:2525"))
    assert routes.destination("x@example.net").name == "via.test:2525"
    assert routes.destination("x@[192.0.2.7]").name == "via.test:2525"


# -- credentials ----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    def write(text: str, mode: int = 0o640) -> str:
        path = tmp_path / "route-credentials"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return write


def test_logins_by_host_and_by_host_and_port(file):
    hosts = Smarthosts(
        file(
            "# who we are\n\nsmart.test:alice@example.org:pass:word with space\n"
            "smart.test:2525:bob:other\n[2001:db8::1]:587:carol:third\n"
        )
    )
    login = hosts.login(Route("smart.test", 587))
    assert (login.name, login.secret, login.token) == (
        "alice@example.org",
        "pass:word with space",
        False,
    )
    assert hosts.login(Route("smart.test", 2525)).name == "bob"
    assert hosts.login(Route("2001:db8::1", 587)).name == "carol"
    assert hosts.login(Route("other.test", 587)) is None
    assert "pass:word" not in repr(login)


def test_a_host_in_letters_of_its_own_is_the_one_of_dns(file):
    hosts = Smarthosts(file("mail.bücher.example:587:alice:secret\n"))
    assert hosts.login(parse_route("mail.bücher.example:587")).name == "alice"


def test_no_file_is_no_login():
    assert Smarthosts("").login(Route("smart.test")) is None


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("smart.test:alice:secret\n", 0o644, "others can read it"),
        ("smart.test:alice\n", 0o600, ":1: host:login:password expected"),
        ("\nsmart.test\n", 0o600, ":2: host:login:password expected"),
    ],
)
def test_a_fault_is_named(file, text, mode, said):
    with pytest.raises(Misconfigured) as caught:
        Smarthosts(file(text, mode))
    assert said in caught.value.detail


def test_a_program_gives_a_token_which_is_used_again(file, tmp_path):
    count = tmp_path / "count"
    program = tmp_path / "token"
    program.write_text(f'#!/bin/sh\necho x >>{count}\necho "token for $1"\necho more\n')
    program.chmod(0o755)
    hosts = Smarthosts(file(f"smart.test:alice:!{program} alice\n"))
    for _ in range(2):
        login = hosts.login(Route("smart.test", 587))
        assert (login.secret, login.token) == ("token for alice", True)
    assert count.read_text() == "x\n"


def test_a_program_gives_a_password(file):
    login = Smarthosts(file("smart.test:alice:|echo 'a pass:word'\n")).login(Route("smart.test"))
    assert (login.secret, login.token) == ("a pass:word", False)


def test_a_refused_token_is_asked_for_again(file, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(smarthost.time, "monotonic", lambda: now[0])
    count = tmp_path / "count"
    program = tmp_path / "token"
    program.write_text(f"#!/bin/sh\necho x >>{count}\nwc -l <{count}\n")
    program.chmod(0o755)
    hosts, route = Smarthosts(file(f"smart.test:alice:!{program}\n")), Route("smart.test")
    assert hosts.login(route).secret == "1"
    assert hosts.login(route, "1").secret == "1"  # it has only just been printed
    now[0] += 11
    assert hosts.login(route).secret == "1"
    assert hosts.login(route, "1").secret == "2"
    assert hosts.login(route, "1").secret == "2"  # another message had the old one


def test_a_program_that_hangs_is_ended_with_all_it_has_started(file, tmp_path, monkeypatch):
    pid = tmp_path / "pid"
    program = tmp_path / "token"
    program.write_text(f"#!/bin/sh\nsleep 100 & echo $! >{pid}.new; mv {pid}.new {pid}; wait\n")
    program.chmod(0o755)
    path, seconds = file(f"smart.test:alice:!{program}\n"), 0.2
    while not pid.exists():  # a busy machine may not have begun it in time
        monkeypatch.setattr(smarthost, "TIMEOUT", seconds := seconds * 2)
        with pytest.raises(AuthTrouble) as caught:
            Smarthosts(path).login(Route("smart.test"))
        assert "no answer in" in caught.value.detail
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        pass


@pytest.mark.parametrize("program", ["/nonexistent", "false", "true", "'unbalanced"])
def test_a_program_that_gives_none_is_trouble_of_ours(file, program):
    with pytest.raises(AuthTrouble) as caught:
        Smarthosts(file(f"smart.test:alice:!{program}\n")).login(Route("smart.test"))
    assert program in caught.value.detail
    assert not caught.value.permanent


@pytest.mark.parametrize("works", [True, False])
def test_a_program_that_many_want_to_ask_is_asked_once(file, tmp_path, works):
    asked = tmp_path / "asked"
    program = tmp_path / "token"
    program.write_text(f"#!/bin/sh\necho x >> {asked}\n{'echo t0ken' if works else 'exit 1'}\n")
    program.chmod(0o755)
    smarthosts = Smarthosts(file(f"mail.example.com:alice:!{program}\n"))
    found = []

    def ask() -> None:
        try:
            found.append(smarthosts.login(parse_route("mail.example.com")).secret)
        except AuthTrouble as trouble:
            found.append(trouble.text)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10
    assert (set(found) == {"t0ken"}) is works
    assert asked.read_text() == "x\n"
