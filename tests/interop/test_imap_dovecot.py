"""imapd and Dovecot side by side: odd messages read alike; one Maildir served by both in turn."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imap_client
import pytest
from imap_client import Client, Result

pytestmark = pytest.mark.skipif(not imap_client.DOVECOT, reason="Dovecot is not installed")

MESSAGES = Path(__file__).parent.parent / "messages"
SAMPLES = sorted(MESSAGES.glob("*.eml"))

SECTIONS = (
    "BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2]"
    " BODY.PEEK[2.MIME] BODY.PEEK[2.1] BODY.PEEK[2.1.MIME] BODY.PEEK[1.HEADER] BODY.PEEK[1.TEXT]"
    " BODY.PEEK[1.1.TEXT] BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)] BODY.PEEK[TEXT]<3.10>"
)

# Where we differ on purpose: Dovecot's sections that end a part's header where the body is empty.
LEFT_OUT = {
    ("digest", "BODY[1.MIME]"),
}


@pytest.fixture(scope="module")
def tmp_path() -> Iterator[Path]:
    """A folder that Dovecot's user can enter, which pytest's own are not when root runs it."""
    with TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def pair(tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    """Both servers on copies of one Maildir that holds the samples."""
    for name in ("ours", "theirs"):
        new = tmp_path / name / "new"
        for folder in ("new", "tmp", "cur"):
            (tmp_path / name / folder).mkdir(parents=True)
        for number, sample in enumerate(SAMPLES):
            shutil.copyfile(sample, new / f"{1700000000 + number}.M1P1.host")
    dovecot = imap_client.dovecot(tmp_path / "dovecot", tmp_path / "theirs")
    with ours(tmp_path / "ours") as one, dovecot as two:
        one.ok("SELECT INBOX")
        two.ok("SELECT INBOX")
        yield one, two


def ours(maildir: Path) -> Client:
    command = [sys.executable, str(Path(__file__).parents[2] / "bin" / "imapd")]
    return imap_client.piped([*command, "--maildir", str(maildir)], stderr=subprocess.DEVNULL)


def name_of(number: int) -> str:
    return SAMPLES[number - 1].stem


def test_sizes_and_structures(pair: tuple[Client, Client]) -> None:
    for item in ("RFC822.SIZE", "BODYSTRUCTURE", "BODY"):
        one, two = (client.ok(f"FETCH 1:* ({item})").fetched() for client in pair)
        assert len(one) == len(SAMPLES)
        for number in two:
            assert one[number] == two[number], name_of(number)


def test_envelopes(pair: tuple[Client, Client]) -> None:
    one, two = (client.ok("FETCH 1:* ENVELOPE").fetched() for client in pair)
    for number in two:
        assert one[number] == without_fillers(two[number]), name_of(number)


def without_fillers(value: Any) -> Any:
    """Dovecot fills what an address lacks with words; we leave it empty."""
    if isinstance(value, dict):
        return {key: without_fillers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_fillers(inner) for inner in value]
    return b"" if value in (b"MISSING_MAILBOX", b"MISSING_DOMAIN", b"SYNTAX_ERROR") else value


def test_sections(pair: tuple[Client, Client]) -> None:
    one, two = (client.ok(f"FETCH 1:* ({SECTIONS})").fetched() for client in pair)
    for number, items in two.items():
        for item, value in items.items():
            if (name_of(number), item) in LEFT_OUT:
                continue
            # For a part that is not there Dovecot gives an empty string, or what it is in.
            if one[number][item] is not None:
                assert one[number][item] == value, (name_of(number), item)


SEARCHES = [
    "ALL", "SEEN", "UNSEEN", "NEW", "OLD", "FROM ann", "FROM ANN@EXAMPLE.ORG", "TO bob",
    "CC group", "CC two@", "BCC relay", "SUBJECT plain", "SUBJECT \"one two\"",
    'HEADER Message-ID ""', "HEADER Message-ID dig", 'HEADER X-None ""', "BODY hello",
    "BODY two", "TEXT rfc822", "BODY \"the text\"", "SENTON 3-Jun-2025", "SENTBEFORE 3-Jun-2025",
    "SENTSINCE 3-Jun-2025", "LARGER 1000", "SMALLER 100", "NOT FROM ann", "OR FROM ann SUBJECT x",
    "(FROM ann) (SUBJECT plain)", "1:5", "UID 1:5", "NOT 1:5", "2:4,7 SEEN",
    "CHARSET UTF-8 SUBJECT {7+}\r\nGr\u00fc\u00dfe", "CHARSET UTF-8 BODY {7+}\r\ngr\u00fc\u00dfe",
    "CHARSET UTF-8 FROM {10+}\r\nf\u00e4ltstr\u00f6", "CHARSET ISO-8859-1 BODY {3+}\r\ngru",
    "CHARSET UTF-8 SUBJECT {6+}\r\n\u65e5\u672c", "CHARSET UTF-8 BODY {9+}\r\n\u65e5\u672c\u8a9e",
    "CHARSET UTF-8 TO {4+}\r\n\u00c4\u00d6",
]  # fmt: skip


# Where we differ on purpose. Octets that are in no charset: Dovecot finds no text in them.
APART = {
    # Base64 is read on over what does not belong; an encoding that does not count is not undone.
    "BODY hello": ("bad_base64", "encoding_alone"),
    # The header of a message inside belongs to the body (RFC 3501 6.4.4).
    "BODY two": ("forwarded",),
    # To Dovecot, a message without a date was sent in 1970.
    "SENTBEFORE 3-Jun-2025": (
        *("addresses", "eight_bit", "empty_fields", "empty_header", "encoded_words"),
        *("only_newline", "two_from"),
    ),
    # A character that is cut in two by encoded words is put together again.
    "CHARSET UTF-8 TO {4+}\r\n\u00c4\u00d6": ("encoded_words",),
}


@pytest.mark.parametrize("keys", SEARCHES)
def test_search(pair: tuple[Client, Client], keys: str) -> None:
    one, two = (client.ok(f"SEARCH {keys}").numbers() for client in pair)
    odd = {"eight_bit", "unknown_charset", *APART.get(keys, ())}
    found = ({name_of(number) for number in numbers} - odd for numbers in (one, two))
    assert next(found) == next(found)


def test_status(pair: tuple[Client, Client]) -> None:
    items = "(MESSAGES RECENT UIDNEXT UNSEEN SIZE)"
    one, two = (client.ok(f"STATUS INBOX {items}").untagged for client in pair)
    assert one == two


def test_list(pair: tuple[Client, Client]) -> None:
    said: list[list[list[bytes]]] = []
    for client in pair:
        for name in ("Work.Reports.2024", "Drafts", "&AOQ-rger"):
            client.ok(f"CREATE {name}")
        client.ok("SUBSCRIBE Work.Reports.2024")
        said.append([])
        for command in ('LIST "" *', 'LIST "" %', 'LIST "" Work.%', "LIST Work. *", 'LSUB "" %'):
            found = client.ok(command).untagged
            # Dovecot does not know special uses unless it is told.
            said[-1].append(sorted(line.replace(b" \\Drafts", b"") for line in found))
    assert said[0] == said[1]


# -- one Maildir, served by both in turn ----------------------------------------------------------


def facts(result: Result) -> dict[int, Any]:
    """UID → flags without \\Recent."""
    return {
        int(items["UID"]): {flag for flag in items["FLAGS"] if flag != b"\\Recent"}
        for items in result.fetched().values()
    }


def test_uids_flags_and_keywords_both_ways(tmp_path: Path) -> None:
    maildir = tmp_path / "Maildir"
    for folder in ("new", "tmp", "cur"):
        (maildir / folder).mkdir(parents=True)
    for number in range(3):
        (maildir / "new" / f"{1700000000 + number}.M1P1.host").write_bytes(b"Subject: x\n\nx\n")
    seen: dict[int, Any] = {}
    validity = ""
    for turn in range(4):
        theirs = turn % 2 == 0
        server = imap_client.dovecot(tmp_path / "d", maildir) if theirs else ours(maildir)
        with server as client:
            opened = client.ok("SELECT INBOX")
            line = next(line for line in opened.untagged if b"UIDVALIDITY" in line)
            assert validity in ("", line.split()[3].decode())
            validity = line.split()[3].decode()
            now = facts(client.ok("FETCH 1:* (UID FLAGS)"))
            if turn:
                assert now == seen
            client.ok(f"STORE 1 +FLAGS (\\Flagged key{turn})")
            client.ok("STORE 2 FLAGS (\\Seen \\Answered $Label1)")
            client.append("INBOX", b"Subject: new\r\n\r\nnew\r\n", f"(\\Draft kw{turn}) ")
            client.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
            client.ok("CREATE Sent" if turn == 0 else "NOOP")
            client.ok("UID COPY 1 Sent")
            client.ok("EXPUNGE")
            seen = facts(client.ok("FETCH 1:* (UID FLAGS)"))
            client.ok("LOGOUT")
    assert sorted(seen) == [1, 2, 4, 5, 6, 7]
    assert seen[1] == {b"\\Flagged", b"key0", b"key1", b"key2", b"key3"}
    with ours(maildir) as client:
        client.ok("SELECT Sent")
        assert sorted(facts(client.ok("FETCH 1:* (UID FLAGS)"))) == [1, 2, 3, 4]
