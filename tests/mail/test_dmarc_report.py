"""DMARC aggregate reports as XML: the elements of RFC 9990 3.1.1, in their order."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.dmarc_report import NAMESPACE, Feedback, Published, Row, Sent, Signed, write

texts = st.text(max_size=20)
words = st.sampled_from(["pass", "fail"])
rows = st.builds(
    Row,
    source=st.sampled_from(["192.0.2.7", "2001:db8::7"]),
    disposition=st.sampled_from(["none", "pass", "quarantine", "reject"]),
    dkim=words,
    spf=words,
    author=texts,
    envelope_from=texts,
    envelope_to=texts,
    reasons=st.lists(st.tuples(st.just("local_policy"), texts), max_size=2).map(tuple),
    signed=st.lists(st.builds(Signed, texts, texts, words, texts), max_size=3).map(tuple),
    sent=st.none() | st.builds(Sent, texts, words, texts),
)
feedbacks = st.builds(
    Feedback,
    organization=texts,
    email=texts,
    id=texts,
    begin=st.just(1795305600),
    end=st.just(1795391999),
    domain=texts,
    published=st.builds(Published, st.just("reject"), sp=st.sampled_from(["", "none"])),
    rows=st.lists(st.tuples(rows, st.integers(1, 9)), min_size=1, max_size=3).map(tuple),
    errors=st.lists(texts, max_size=2).map(tuple),
)

# What may stand in an element, in this order; those with a ? may be missing, * may come again.
SCHEMA = {
    "feedback": "version report_metadata policy_published record*",
    "report_metadata": "org_name email report_id date_range error? generator?",
    "date_range": "begin end",
    "policy_published": "domain discovery_method p sp? np? fo? adkim aspf testing",
    "record": "row identifiers auth_results",
    "row": "source_ip count policy_evaluated",
    "policy_evaluated": "disposition dkim spf reason*",
    "reason": "type comment?",
    "identifiers": "header_from envelope_from envelope_to?",
    "auth_results": "dkim* spf?",
    "auth_results/dkim": "domain selector result human_result?",
    "auth_results/spf": "domain scope result human_result?",
}


def check(element: ElementTree.Element, above: str = "") -> None:
    """Compare an element and what is in it with the schema."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    assert name != element.tag, "another namespace"
    allowed = SCHEMA.get(f"{above}/{name}") or (SCHEMA.get(name) if above != "row" else None)
    if name == "policy_evaluated":
        allowed = SCHEMA[name]
    if above == "policy_evaluated" and name in ("dkim", "spf"):
        allowed = None
    if allowed is None:
        assert not len(element), f"{name} holds elements"
        return
    found = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]
    for word in allowed.split():
        plain = word.rstrip("?*")
        count = 0
        while found and found[0] == plain and (word[-1] == "*" or not count):
            found.pop(0)
            count += 1
        assert count or word[-1] in "?*", f"{name} lacks {plain}"
    assert not found, f"{name} holds {found}"
    for child in element:
        check(child, name)


@given(feedbacks)
def test_whatever_it_says_it_is_xml_of_the_schema(feedback: Feedback) -> None:
    check(ElementTree.fromstring(write(feedback)))


@given(feedbacks)
def test_numbers_and_names_come_back(feedback: Feedback) -> None:
    tree = ElementTree.fromstring(write(feedback))
    space = {"": NAMESPACE}
    counts = [int(element.text or "") for element in tree.iterfind("record/row/count", space)]
    assert counts == [count for _, count in feedback.rows]
    sources = [element.text for element in tree.iterfind("record/row/source_ip", space)]
    assert sources == [row.source for row, _ in feedback.rows]


def test_what_would_break_xml_is_made_safe() -> None:
    row = Row("192.0.2.7", "none", "fail", "fail", "a<b>&c\x00\ud800]]>")
    report = Feedback("o", "e", "i", 0, 1, "d", Published("none"), ((row, 1),))
    (name,) = ElementTree.fromstring(write(report)).iterfind(
        "record/identifiers/header_from", {"": NAMESPACE}
    )
    assert name.text == "a<b>&c??]]>"
