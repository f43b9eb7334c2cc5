"""What all crash tests share."""

import os

import pytest

from mailtools import log


def fsync(fd: int) -> None:
    """Do nothing."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fsync cost nothing: the harness knows what was synced without the disk's help."""
    monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of runs would log the same."""
    monkeypatch.setattr(log, "line", lambda text: None)
