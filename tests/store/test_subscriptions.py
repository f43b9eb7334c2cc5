"""Subscriptions in Dovecot's two versions and Courier's."""

from pathlib import Path

import pytest

from mailtools.store.maildir import Maildir
from mailtools.store.subscriptions import Subscriptions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Maildir(str(tmp_path)).create()
    return tmp_path


def test_a_new_list_is_of_version_2(root):
    listed = Subscriptions(str(root))
    for name in ("Archive.2024", "Entwürfe", "inbox", "Entwürfe"):
        listed.add(name)
    assert listed.names() == ["Archive.2024", "Entwürfe", "INBOX"]
    text = (root / "subscriptions").read_text()
    assert text == "V\t2\n\nArchive\t2024\nEntw&APw-rfe\nINBOX\n"
    listed.remove("Entwürfe")
    listed.remove("Nowhere")
    assert Subscriptions(str(root)).names() == ["Archive.2024", "INBOX"]


def test_a_list_of_version_1_stays_one(root):
    (root / "subscriptions").write_text("Archive.2024\nEntw&APw-rfe\n&bad\n")
    listed = Subscriptions(str(root))
    assert listed.names() == ["Archive.2024", "Entwürfe", "&bad"]
    listed.add("Neu.Ö")
    assert (root / "subscriptions").read_text() == "Archive.2024\nEntw&APw-rfe\n&bad\nNeu.&ANY-\n"


def test_courier_s_list_is_read_until_there_is_one(root):
    (root / "courierimapsubscribed").write_text("INBOX\nINBOX.Sent\nINBOX.Entw&APw-rfe\n")
    listed = Subscriptions(str(root))
    assert listed.names() == ["INBOX", "Sent", "Entwürfe"]
    listed.add("Neu")
    assert listed.names() == ["INBOX", "Sent", "Entwürfe", "Neu"]
    assert (root / "courierimapsubscribed").read_text().startswith("INBOX\n")


def test_escapes_of_version_2(root):
    (root / "subscriptions").write_text("V\t2\n\na\x01tb\tc\x011d\n")
    listed = Subscriptions(str(root))
    assert listed.names() == ["a\tb.c\x01d"]
    listed.remove("a\tb.c\x01d")
    assert listed.names() == []
