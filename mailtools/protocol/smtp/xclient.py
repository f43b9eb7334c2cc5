"""XCLIENT, as Postfix' XCLIENT_README has it: what a proxy says of its client, checked.

The client's own words and its name in DNS are strangers', whoever passes them on: what could not
stand in a log line or a Received field does not come through.
"""

from collections.abc import Callable

from mailtools.errors import BadParameter
from mailtools.protocol.smtp.grammar import from_xtext, host_name, parameters, tame_name

ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
PORT_MOST = 65535


def read_attributes(argument: str) -> dict[str, str]:
    """Read the attributes, decoded; "" stands for [UNAVAILABLE] and [TEMPUNAVAIL].

    Raises BadParameter (501) for one that is unknown, or has a value it cannot have.
    """
    found = parameters(argument)
    if not found:
        raise BadParameter("The form is XCLIENT NAME=value …", reply=501)
    strange = set(found) - set(ATTRIBUTES)
    if strange:
        raise BadParameter(f"No attribute of XCLIENT: {min(strange)}", reply=501)
    return {key: _read(key, from_xtext(value)) for key, value in found.items()}


def _read(key: str, value: str) -> str:
    if value.upper() in ("", "[UNAVAILABLE]", "[TEMPUNAVAIL]"):
        return ""
    read = _READ[key](value)
    if not read and key != "NAME":
        raise BadParameter(f"Bad {key} syntax", reply=501)
    return read


def _address(text: str) -> str:
    import ipaddress  # behind a proxy only

    try:
        return str(ipaddress.ip_address(text[5:] if text[:5].upper() == "IPV6:" else text))
    except ValueError:
        return ""


def _port(text: str) -> str:
    fits = text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= PORT_MOST
    return text if fits else ""


def _protocol(text: str) -> str:
    return text.upper() if text.upper() in ("SMTP", "ESMTP") else ""


def _login(text: str) -> str:
    return text if text.isprintable() else ""


_READ: dict[str, Callable[[str], str]] = {
    "NAME": host_name,  # whoever owns the address wrote it into DNS: what is no name is none
    "ADDR": _address,
    "PORT": _port,
    "PROTO": _protocol,
    "HELO": tame_name,
    "LOGIN": _login,
    "DESTADDR": _address,
    "DESTPORT": _port,
}
