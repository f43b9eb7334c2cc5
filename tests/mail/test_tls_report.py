"""SMTP TLS reports as JSON, beside the example of RFC 8460 appendix B."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.tls_report import (
    EXPIRED,
    NO_POLICY,
    NO_STARTTLS,
    STS,
    VALIDATION,
    Applied,
    Session,
    TlsReport,
    write,
)

LINES = ("version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400")


def test_it_has_the_shape_of_the_example() -> None:
    applied = Applied("company-y.example", STS, LINES, ("*.mail.company-y.example",))
    sessions = (
        (Session(), 5326),
        (Session(EXPIRED, "mx1.mail.company-y.example", source="2001:db8:abcd:12::1"), 100),
        (
            Session(
                NO_STARTTLS,
                "mx2.mail.company-y.example",
                "203.0.113.56",
                "2001:db8:abcd:13::1",
            ),
            200,
        ),
        (
            Session(
                VALIDATION, "mx-backup.mail.company-y.example", "203.0.113.58", "198.51.100.62",
                "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
            ),
            3,
        ),
    )  # fmt: skip
    report = TlsReport(
        "Company-X", "sts-reporting@company-x.example", "5065427c-23d3", "2016-04-01",
        ((applied, sessions),),
    )  # fmt: skip
    assert json.loads(write(report)) == {
        "organization-name": "Company-X",
        "date-range": {
            "start-datetime": "2016-04-01T00:00:00Z",
            "end-datetime": "2016-04-01T23:59:59Z",
        },
        "contact-info": "sts-reporting@company-x.example",
        "report-id": "5065427c-23d3",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": list(LINES),
                    "policy-domain": "company-y.example",
                    "mx-host": ["*.mail.company-y.example"],
                },
                "summary": {
                    "total-successful-session-count": 5326,
                    "total-failure-session-count": 303,
                },
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "2001:db8:abcd:12::1",
                        "receiving-mx-hostname": "mx1.mail.company-y.example",
                        "failed-session-count": 100,
                    },
                    {
                        "result-type": "starttls-not-supported",
                        "sending-mta-ip": "2001:db8:abcd:13::1",
                        "receiving-mx-hostname": "mx2.mail.company-y.example",
                        "receiving-ip": "203.0.113.56",
                        "failed-session-count": 200,
                    },
                    {
                        "result-type": "validation-failure",
                        "sending-mta-ip": "198.51.100.62",
                        "receiving-mx-hostname": "mx-backup.mail.company-y.example",
                        "receiving-ip": "203.0.113.58",
                        "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
                        "failed-session-count": 3,
                    },
                ],
            }
        ],
    }


@given(
    st.lists(
        st.tuples(
            st.builds(Session, st.sampled_from(["", EXPIRED, VALIDATION]), st.text(max_size=5)),
            st.integers(1, 99),
        ),
        max_size=5,
    )
)
def test_the_sums_are_those_of_the_sessions(sessions: list[tuple[Session, int]]) -> None:
    applied = Applied("example.net", NO_POLICY)
    (policy,) = json.loads(write(TlsReport("o", "c", "i", "d", ((applied, tuple(sessions)),))))[
        "policies"
    ]
    summary, details = policy["summary"], policy.get("failure-details", [])
    assert sum(summary.values()) == sum(count for _, count in sessions)
    assert summary["total-failure-session-count"] == sum(
        detail["failed-session-count"] for detail in details
    )
    assert "policy-string" not in policy["policy"]
