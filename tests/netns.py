"""Two hosts for a test: network namespaces with a cable between them; needs root and iproute2.

The first is `HERE`, the second has all the addresses of `THERE`. In each, every port is free.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HERE, THERE = "192.0.2.1", ("192.0.2.2", "192.0.2.3", "192.0.2.4")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def inside(namespace: str) -> list[str]:
    """Give the words to put before a command that is to run there."""
    return ["ip", "netns", "exec", namespace]


def can_make_namespaces() -> bool:
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"mailtools-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def two_namespaces() -> Iterator[tuple[str, str]]:
    """Give the names of two namespaces with a cable between them."""
    names = f"mailtools-a-{os.getpid()}", f"mailtools-b-{os.getpid()}"
    for name in names:
        ip("netns", "add", name)
    cable = "a-to-b"
    try:
        try:
            words = f"link add {cable} type veth peer name {cable} netns {names[1]}"
            ip("-n", names[0], *words.split())
        except subprocess.CalledProcessError:
            pytest.skip("needs virtual cables (veth)")
        for name, addresses in zip(names, ((HERE,), THERE), strict=True):
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", cable, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name)
