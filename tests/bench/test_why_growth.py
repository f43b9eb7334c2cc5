"""Time of mail-why grows with what it tells, not with its square."""

from growing import grows_linearly

from mailtools.mail.report import Report
from mailtools.services.why.advice import Advice
from mailtools.services.why.story import Story
from mailtools.services.why.why_facts import fact
from mailtools.services.why.why_lines import Teller
from mailtools.store.entry import State

REFUSED = "mx.example.net[192.0.2.9]:25: Connection refused"


def told(recipients: int) -> Story:
    """A message to so many, tried five times."""
    paths = [f"r{number}@example.net" for number in range(recipients)]
    one = Story("1.M1P1R1", State.WAIT, 1.0)
    one.forward_paths, one.pending = dict.fromkeys(paths), dict.fromkeys(paths)
    for attempt in range(5):
        one.reports += [(attempt, Report(path, "delayed", "4.4.1", REFUSED)) for path in paths]
    return one


def test_a_message_to_very_many() -> None:
    advice = Advice(100.0, {}, attended=True)
    assert grows_linearly(lambda size: list(Teller(advice, 100.0).lines(told(size))))
    assert grows_linearly(lambda size: fact(advice, told(size)))
