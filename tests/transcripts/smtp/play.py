"""SMTP transcripts: bob, carol and postmaster live at example.org; alice's password is secret."""

from typing import Any

from smtp_fake import FakeSession

from mailtools.protocol.smtp.server import SmtpServer
from mailtools.protocol.smtp.session import Settings


def engine(options: dict[str, str]) -> SmtpServer:
    session = FakeSession(trusted="relay" in options, auth="auth" in options)
    session.xclient_allowed = "xclient" in options
    settings = Settings(
        name="mail.example.org",
        size=int(options.get("size", 1000000)),
        recipients=int(options.get("recipients", 1000)),
        lmtp="lmtp" in options,
        starttls="tls" in options,
        submission="submission" in options,
        qualify="example.org" if "submission" in options else "",
        # A whole transcript sent together breaks the rules of pipelining by design.
        synchronous=options["way"] != "together",
    )
    return SmtpServer(session, settings)


def process(site: Any, options: dict[str, str]) -> list[str]:
    for user in ("bob", "carol", "alice"):
        site.account(user)
    site.set("aliases", "postmaster: bob")
    site.set("message-size", options.get("size", "1000000"))
    site.set("recipients", options.get("recipients", "1000"))
    arguments = [f"--{name}" for name in ("lmtp", "submission") if name in options]
    return ["smtpd-accept", *arguments]
