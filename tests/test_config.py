"""Control files: what they mean, and every fault of them at once."""

from pathlib import Path

import pytest

from mailtools.config import Config
from mailtools.errors import Misconfigured
from mailtools.settings import SETTINGS


def test_defaults_without_a_folder() -> None:
    etc = Config("/nonexistent")
    assert etc.octets("message-size") == 25 * 1024 * 1024
    assert etc.seconds("lifetime") == 5 * 86400
    assert etc.lines("locals") == [etc.line("me")]
    assert etc.mapping("routes") == {}
    assert etc.file("accounts") == ""
    assert not etc.flag("plaintext-login")
    etc.check()


def test_values(tmp_path: Path) -> None:
    def put(name: str, text: str) -> None:
        (tmp_path / name).write_text(text)

    put("me", "# our name\n\n  mail.example.org  \n")
    put("locals", "example.org\n.example.net\n#no\n")
    put("message-size", "10M\n")
    put("lifetime", "1h\n")
    put("routes", "Example.com:127.0.0.1:2525\n:smart.example.net:587\n")
    put("tls-certificate", "cert.pem\n")
    put("plaintext-login", "yes\n")
    put("relay-clients", "")
    etc = Config(str(tmp_path))
    assert etc.line("me") == "mail.example.org"
    assert etc.lines("locals") == ["example.org", ".example.net"]
    assert etc.octets("message-size") == 10 * 1024 * 1024
    assert etc.seconds("lifetime") == 3600
    assert etc.mapping("routes") == {
        "example.com": "127.0.0.1:2525",
        "": "smart.example.net:587",
    }
    assert etc.path("tls-certificate") == str(tmp_path / "cert.pem")
    assert etc.flag("plaintext-login")
    assert etc.lines("relay-clients") == []
    etc.check()


def test_all_faults_at_once_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "me").write_text("one\n# two\nthree\n")
    (tmp_path / "message-size").write_text("\nlots\n")
    (tmp_path / "lifetime").write_text("5 years\n")
    (tmp_path / "routes").write_text("no colon\na:b\nA:c\n")
    (tmp_path / "locals").write_bytes(b"\xff\xfe\n")
    (tmp_path / "hops").mkdir()
    etc = Config(str(tmp_path))
    etc.line("me")
    etc.octets("message-size")
    etc.seconds("lifetime")
    etc.mapping("routes")
    etc.lines("locals")
    etc.number("hops")
    with pytest.raises(Misconfigured) as caught:
        etc.check()
    faults = caught.value.detail.split("\n")
    places = [fault.removeprefix(str(tmp_path) + "/").split(": ")[0] for fault in faults]
    assert " ".join(places) == "me:3 message-size:2 lifetime:1 routes:1 routes:3 locals hops"


def test_every_default_is_good(tmp_path: Path) -> None:
    etc = Config(str(tmp_path))
    getters = {
        "line": etc.line,
        "lines": etc.lines,
        "number": etc.number,
        "duration": etc.seconds,
        "size": etc.octets,
        "flag": etc.flag,
        "map": etc.mapping,
        "path": etc.path,
        "file": etc.file,
    }
    for setting in SETTINGS.values():
        getters[setting.kind](setting.name)
    etc.check()


def test_a_file_that_begins_as_some_editors_write_it(tmp_path: Path) -> None:
    (tmp_path / "locals").write_bytes(b"\xef\xbb\xbfexample.org\r\nexample.net\r\n")
    config = Config(str(tmp_path))
    assert config.lines("locals") == ["example.org", "example.net"]


def test_a_host_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "me").write_text("# none yet\n")
    config = Config(str(tmp_path))
    config.line("me")
    assert config.faults == [f"{tmp_path}/me: is empty: the name of this host is expected"]
