"""Signed DNS for tests: zones signed by ldns, served by NSD, believed or not by Unbound.

Everything is under test., whose key is the one trust anchor. It wants a network namespace for
itself: NSD listens on 127.0.0.2:53, Unbound, which validates, on 127.0.0.1:53.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROGRAMS = ("ldns-keygen", "ldns-signzone", "nsd", "unbound")
ALGORITHM = "ECDSAP256SHA256"
HEAD = """$ORIGIN {name}.
$TTL 60
@ SOA ns.test. hostmaster.test. 1 3600 600 86400 30
@ NS ns.test.
"""
NSD = """\
server:
  ip-address: 127.0.0.2
  username: ""
  database: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd"
  zonelistfile: "{folder}/zonelist"
remote-control:
  control-enable: no
"""
UNBOUND = """\
server:
  interface: 127.0.0.1
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: "validator iterator"
  trust-anchor-file: "{folder}/anchor"
remote-control:
  control-enable: no
stub-zone:
  name: "test."
  stub-addr: 127.0.0.2
"""


def missing() -> list[str]:
    """Give the programs that are not there."""
    return [name for name in PROGRAMS if not shutil.which(name, path="/usr/sbin:/usr/bin")]


@dataclass(frozen=True)
class Zone:
    """A zone below test.: its records, whether and until when it is signed, and a change after."""

    records: str
    signed: bool = True
    until: str = "20400101"
    tampered: tuple[str, str] = ("", "")
    """What is replaced, by what, after it was signed."""


class SignedDns:
    """NSD and Unbound, while the context lasts."""

    def __init__(self, folder: Path, zones: Mapping[str, Zone], within: Sequence[str]) -> None:
        self._folder, self._within = folder, within
        self._running: list[subprocess.Popen[bytes]] = []
        parent = HEAD.format(name="test") + "ns A 127.0.0.2\n"
        served = []
        for name, zone in zones.items():
            parent += f"{name.removesuffix('.test')} NS ns.test.\n"
            text = HEAD.format(name=name) + zone.records
            if zone.signed:
                keys = self._keys(name)
                parent += (folder / f"{keys[0]}.ds").read_text()
                text = self._sign(name, text, keys, zone.until).replace(*zone.tampered)
            (folder / f"{name}.zone").write_text(text)
            served.append(name)
        keys = self._keys("test")
        (folder / "anchor").write_text((folder / f"{keys[0]}.key").read_text())
        (folder / "test.zone").write_text(self._sign("test", parent, keys, "20400101"))
        conf = NSD.format(folder=folder)
        for name in (*served, "test"):
            conf += f'zone:\n  name: "{name}."\n  zonefile: "{name}.zone"\n'
        (folder / "nsd.conf").write_text(conf)
        (folder / "unbound.conf").write_text(UNBOUND.format(folder=folder))

    def __enter__(self) -> Self:
        self._start("nsd", "nsd started")
        self._start("unbound", "start of service")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.terminate()
            process.wait()
            assert process.stderr
            process.stderr.close()

    def _start(self, name: str, ready: str) -> None:
        process = subprocess.Popen(
            [*self._within, f"/usr/sbin/{name}", "-d", "-c", str(self._folder / f"{name}.conf")],
            stderr=subprocess.PIPE,
        )
        self._running.append(process)
        assert process.stderr
        said = b""
        for line in process.stderr:
            said += line
            if ready.encode() in line:
                return
        raise AssertionError(f"{name} did not start:\n{said.decode()}")

    def _keys(self, name: str) -> list[str]:
        """Make a key that signs keys, and one that signs the zone; give their files' names."""
        return [
            self._run("ldns-keygen", *kind, "-a", ALGORITHM, name).strip() for kind in (("-k",), ())
        ]

    def _sign(self, name: str, text: str, keys: list[str], until: str) -> str:
        plain, signed = self._folder / f"{name}.plain", self._folder / f"{name}.signed"
        plain.write_text(text)
        self._run(
            *("ldns-signzone", "-i", "20200101", "-e", until, "-o", name, "-f", str(signed)),
            *(str(plain), *keys),
        )
        return signed.read_text()

    def _run(self, *words: str) -> str:
        done = subprocess.run(words, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout
