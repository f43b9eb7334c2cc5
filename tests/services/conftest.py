"""Fixtures for the tests of relaying."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dnsserver import DnsServer
from relaybench import Bench, Peers, free_port, script
from smtpsink import Sink


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with DnsServer({}) as dns:
        made = Bench(tmp_path, dns)
        yield made
        made.leave()
        made.loop.close()


@pytest.fixture
def peers(bench: Bench) -> Iterator[Peers]:
    """Start one scripted peer for each list of dialogs, at 127.0.0.2, .3 … on one port."""
    started: list[Sink] = []

    def start(*dialogs: list[str], context: ssl.SSLContext | None = None) -> list[Sink]:
        bench.port = free_port()
        for number, texts in enumerate(dialogs, 2):
            scripts = [script(text) for text in texts]
            sink = Sink(scripts, context, host=f"127.0.0.{number}", port=bench.port)
            started.append(sink.__enter__())
        return started

    yield start
    bench.leave()
    for sink in started:
        sink.check()
        sink.__exit__()


@pytest.fixture
def server_context(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("smart.test", "one.test").configure_cert(context)
    return context
