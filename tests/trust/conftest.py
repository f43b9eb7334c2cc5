"""A DNS made of a dict, for checks that take a lookup."""

import pytest

from mailtools.errors import DnsTrouble
from mailtools.net.dns import Answer

TROUBLE = "trouble"


class Zone:
    """`{name: {rrtype: [data, …]}}`; data TROUBLE raises DnsTrouble; `asked` records questions."""

    def __init__(self, names):
        self.names = {name.lower(): types for name, types in names.items()}
        self.asked = []

    def __call__(self, name, rrtype):
        assert name.isascii()
        assert not name.endswith(".")
        self.asked.append((name, rrtype))
        return self.find(name.lower(), rrtype, 0)

    def find(self, name, rrtype, hops):
        if hops > 8:
            raise DnsTrouble(f"{name}: too many aliases")
        types = self.names.get(name)
        if types is None:
            below = any(other.endswith(f".{name}") for other in self.names)
            return Answer() if below else Answer(exists=False)
        if rrtype not in types and "CNAME" in types:
            return self.find(types["CNAME"][0].lower().rstrip("."), rrtype, hops + 1)
        records = types.get(rrtype, [])
        if records == TROUBLE:
            raise DnsTrouble(f"{name}: no answer")
        return Answer(tuple(records), secure=bool(types.get("secure")))


@pytest.fixture
def zone():
    """The Zone class: `zone({"example.org": {"TXT": ["v=spf1 -all"]}})`."""
    return Zone


@pytest.fixture
def trouble():
    """What stands for a type whose look-up fails for now."""
    return TROUBLE
