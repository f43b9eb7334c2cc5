"""What a peer offers: keywords of a peer that is not kind."""

import pytest

from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.smtp.offer import Offer
from mailtools.protocol.smtp.transaction import Transaction, message_of

ENDLESS = "9" * 6000  # more digits than Python reads as a number


@pytest.mark.parametrize("line", [f"SIZE {ENDLESS}", f"LIMITS RCPTMAX={ENDLESS}", "SIZE ٣"])
def test_a_number_without_end_is_no_limit(line: str) -> None:
    offer = Offer("peer", [line])
    path = ForwardPath("b@example.net")
    message = message_of(b"Subject: x\n\nx\n")
    assert offer.fitting(Transaction("a@example.org", (path,), message)) is message
    assert offer.limit("RCPTMAX", 100) == 100
