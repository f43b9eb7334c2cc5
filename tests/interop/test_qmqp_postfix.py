"""QMQP with Postfix' test programs, which speak it since 2001."""

import shutil
import subprocess
from typing import Any

import pytest

PATH = "/usr/sbin:/usr/bin:/usr/local/sbin"


@pytest.mark.skipif(not shutil.which("qmqp-source", path=PATH), reason="needs postfix")
def test_from_qmqp_source(site: Any) -> None:
    site.set("relay-clients", "127.0.0.0/8")
    server = site.listen("smtpd-accept", "--qmqp")
    program = shutil.which("qmqp-source", path=PATH)
    for options in (("-m", "20", "-s", "4", "-l", "3000"), ("-r", "30", "-m", "1")):
        subprocess.run(
            [
                str(program),
                *options,
                *("-f", "alice@example.org", "-t", "bob@example.net"),
                f"127.0.0.1:{server.port}",
            ],
            check=True,
            timeout=60,
        )
    entries = [path.read_bytes() for path in (site.queue / "new").glob("*")]
    assert len(entries) == 21
    assert max(entry.count(b"\nforward-path ") for entry in entries) == 30
