"""What we ourselves found of a message when it came: Authentication-Results with our id.

Only above the topmost Received field, where nobody but this host can have written.
"""

from mailtools.mail.fields import fields
from mailtools.trust.authres import (
    RESULTS_MOST,
    AuthenticationResults,
    MethodResult,
    is_forged,
    parse_authres,
)
from mailtools.trust.tags import BadRecord


def own_results(header: bytes, authserv_id: str) -> AuthenticationResults | None:
    """Give what this host found, None where it has not looked; `header` is LF text.

    Several fields count as one, the topmost first: milters write their own (RFC 8617 4.1.1).
    """
    found: list[MethodResult] = []
    looked = False
    for field in fields(header):
        if field.key == b"received":
            break
        if is_forged(field, (authserv_id,)):  # claims our id: here that is true
            try:
                found += parse_authres(field.body.decode("utf-8", "replace")).results
            except BadRecord:
                continue
            looked = True
    return AuthenticationResults(authserv_id, tuple(found[:RESULTS_MOST])) if looked else None


def author_forbids(results: AuthenticationResults) -> bool:
    """Tell whether DMARC failed and the author's domain wants such mail rejected."""
    return any(
        each.result == "fail" and each.get("policy.dmarc") == "reject"
        for each in results.of("dmarc")
    )
