"""A Session for the SMTP engine that decides from two lists and records what it is asked."""

from collections.abc import Mapping
from typing import Any

from mailtools.errors import (
    BadCredentials,
    Failure,
    NoSuchMailbox,
    PolicyRefused,
    RelayDenied,
)
from mailtools.mail.address import Address
from mailtools.protocol.sasl import server as sasl
from mailtools.protocol.sasl.scram import ScramKeys

LOCAL = "example.org"
USERS = ("bob", "carol", "postmaster", "jürgen")


class FakeSink:
    def __init__(self, session: "FakeSession") -> None:
        self.session = session
        self.text = b""
        self.state = "open"

    def write(self, text: bytes) -> None:
        assert self.state == "open"
        if self.session.write_failure:
            raise self.session.write_failure
        self.text += text

    def commit(self) -> str:
        assert self.state == "open"
        self.state = "committed"
        if self.session.commit_failure:
            raise self.session.commit_failure
        self.session.messages.append((self.session.reverse_path, self.session.paths, self.text))
        return "Ok: queued as 1.M2P3R4"

    def abort(self) -> None:
        assert self.state != "committed"
        self.state = "aborted"


class FakeSession:
    """bob and carol live at example.org; alice:secret may relay."""

    def __init__(self, *, trusted: bool = False, auth: bool = False, secure: bool = False) -> None:
        self.secure = secure
        self.trusted = trusted
        self.auth = auth
        self.xclient_allowed = False
        self.release_until = ""
        self.identity: object = None
        self.asked: list[tuple[Any, ...]] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.sinks: list[FakeSink] = []
        self.refusals: list[tuple[str, str, Failure]] = []
        self.losses: list[str] = []
        self.reverse_path = ""
        self.paths: list[str] = []
        self.write_failure: Failure | None = None
        self.commit_failure: Failure | None = None
        self.data_failure: Failure | None = None
        self.greet_failure: Failure | None = None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        usable = self.auth and self.secure and self.identity is None
        return ("PLAIN", "LOGIN") if usable else ()

    @property
    def plaintext_refused(self) -> bool:
        return self.auth and not self.secure

    def greet(self, *, early: bool) -> None:
        self.asked.append(("greet", early))
        if self.greet_failure:
            raise self.greet_failure
        if early:
            raise PolicyRefused("You talked before the greeting", status="5.5.0")

    def secured(self) -> None:
        self.secure = True
        self.asked.append(("secured",))

    def hello(self, name: str, verb: str) -> None:
        self.asked.append(("hello", name, verb))

    def authenticate(self, mechanism: str) -> sasl.Exchange[str]:
        return sasl.start(mechanism, FakeAuthority())

    def authenticated(self, mechanism: str, identity: object) -> None:
        self.identity, self.trusted = identity, True

    def xclient(self, attributes: Mapping[str, str]) -> None:
        self.asked.append(("xclient", dict(attributes)))

    @property
    def may_turn(self) -> bool:
        return self.trusted

    def turn(self, node: str, *, subdomains: bool) -> int:
        if not self.trusted:
            text = f"Node {node} not allowed: who may relay may ask"
            raise RelayDenied(text, status="4.7.1", reply=459)
        self.asked.append(("turn", node, subdomains))
        return {"example.net": 3}.get(node, 0)

    def mail(self, reverse_path: Address | None, parameters: dict[str, str]) -> None:
        self.reverse_path = str(reverse_path or "")
        self.asked.append(("mail", self.reverse_path, parameters))

    def rcpt(self, forward_path: Address, parameters: dict[str, str]) -> None:
        self.asked.append(("rcpt", str(forward_path), parameters))
        if forward_path.domain.lower() not in (LOCAL, ""):
            if not self.trusted:
                raise RelayDenied
        elif forward_path.local.lower() not in USERS:
            raise NoSuchMailbox
        self.paths = [*self.paths, str(forward_path)]

    def data(self) -> FakeSink:
        if self.data_failure:
            raise self.data_failure
        self.sinks.append(FakeSink(self))
        return self.sinks[-1]

    def reset(self) -> None:
        self.paths = []

    def refused(self, command: str, argument: str, failure: Failure) -> None:
        self.refusals.append((command, argument, failure))

    def mishap(self, error: Exception) -> Failure:
        raise error

    def lost(self, command: str) -> None:
        self.losses.append(command)


class FakeAuthority:
    """alice's password is secret."""

    def authenticate(self, credentials: sasl.Credentials) -> str:
        if credentials[:2] == ("alice", "secret"):
            return "alice"
        raise BadCredentials

    def scram_keys(self, login: str, mechanism: str) -> ScramKeys:
        raise NotImplementedError
