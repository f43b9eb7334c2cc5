"""What the checks of strangers are measured with: a signed message and what DNS says to it."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dnsserver import DnsServer, Zone

from mailtools.mail.fields import split_message
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import new_private_key

KEY = new_private_key("rsa")


def zone() -> Zone:
    """What example.net publishes."""
    record = KEY.record()
    return {
        "example.net": {"TXT": ['"v=spf1 ip4:127.0.0.1 -all"'], "A": ["127.0.0.1"]},
        "_dmarc.example.net": {"TXT": ['"v=DMARC1; p=reject"']},
        "s._domainkey.example.net": {"TXT": [f'"{record[:200]}" "{record[200:]}"']},
        "1.0.0.127.in-addr.arpa": {"PTR": ["example.net."]},
    }


def serve() -> DnsServer:
    """Give a DNS server whose answers are good for an hour."""
    server = DnsServer(zone())
    server.ttl = 3600
    return server


def message(size: int) -> bytes:
    """A signed message of about `size` octets."""
    head = (
        b"From: alice@example.net\nTo: bob@example.org\nSubject: x\nMessage-ID: <1@example.net>\n"
    )
    head += b"Date: Thu, 1 Jan 2026 00:00:00 +0000\n\n"
    line = b"The quick brown fox jumps over the lazy dog, and it does so again.\n"
    text = head + line * (size // len(line))
    header, body = split_message(text)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    return sign(header, hashes, [Signer("example.net", "s", KEY)], int(time.time())) + text
