"""What a signature costs beyond the RSA operation itself: less than that takes."""

import time

from mailtools import log
from mailtools.mail.envelope import SUBMITTED, Envelope, ForwardPath
from mailtools.protocol.smtp.transaction import message_of
from mailtools.services.relay.dkim_keys import Keyring
from mailtools.services.relay.signing import Signing
from mailtools.trust.keys import new_private_key

ROUNDS, TIMES = 5, 100


def fastest(work):
    """Give the seconds of processor that `work` takes, at best."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(TIMES):
            work()
        found.append(time.process_time() - start)
    return min(found) / TIMES


def test_signing_a_letter(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "line", lambda text: None)
    key = new_private_key("rsa")
    (tmp_path / "dkim").mkdir()
    path = tmp_path / "dkim" / "s._domainkey.example.org.pem"
    path.write_bytes(key.pem())
    path.chmod(0o600)
    (tmp_path / "dkim-keys").write_text("example.org s\n")
    signing = Signing(Keyring(str(tmp_path)))
    envelope = Envelope("a@example.org", (ForwardPath("b@example.net"),), {SUBMITTED: ""})
    body = b"".join(b"line %d of a message  with words in it\n" % n for n in range(110))
    text = b"From: a@example.org\nTo: b@example.net\nSubject: x\nMIME-Version: 1.0\n\n" + body

    def letter():
        message = message_of(text)
        finish = signing.finish("id", envelope, message)
        assert finish
        finish(message)

    letter()
    whole, raw = fastest(letter), fastest(lambda: key.sign(b"x" * 32))
    assert whole < 2 * raw, f"{whole * 1000:.3f} ms, {raw * 1000:.3f} of them RSA"
