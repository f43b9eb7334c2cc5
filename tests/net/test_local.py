"""Which addresses are this host's own, whatever its kernel is set to."""

import subprocess
import sys

import pytest
from netns import HERE, THERE, can_make_namespaces, inside, two_namespaces

from mailtools.net.local import is_local


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.7", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"]
)
def test_what_leads_back_from_everywhere(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.200", "2001:db8::1", "no address", ""])
def test_what_is_elsewhere(address: str) -> None:
    assert not is_local(address)


@pytest.mark.skipif(not can_make_namespaces(), reason="needs root and iproute2")
@pytest.mark.parametrize("nonlocal_bind", [0, 1])
def test_our_addresses_are_not_those_that_may_be_bound(nonlocal_bind: int) -> None:
    code = (
        "import sys; from mailtools.net.local import is_local; print(*map(is_local, sys.argv[1:]))"
    )
    with two_namespaces() as (near, _):
        for family in ("ipv4", "ipv6"):
            path = f"/proc/sys/net/{family}/ip_nonlocal_bind"
            subprocess.run([*inside(near), "sh", "-c", f"echo {nonlocal_bind} >{path}"], check=True)
        addresses = (HERE, THERE[0], "198.51.100.1", "2001:db8::1", "127.0.0.1", "::1")
        done = subprocess.run(
            [*inside(near), sys.executable, "-c", code, *addresses],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout.split() == ["True", "False", "False", "False", "True", "True"]
