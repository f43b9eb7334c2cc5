"""Lock files as Dovecot makes and honours them."""

import os
import time
from pathlib import Path

import pytest

from mailtools.errors import SystemTrouble
from mailtools.store.dotlock import DotLock


def test_the_lock_file_names_its_holder_and_goes_with_him(tmp_path):
    with DotLock(f"{tmp_path}/list"):
        text = Path(tmp_path, "list.lock").read_text()
        assert text == f"{os.getpid()}:{os.uname().nodename}"
    assert not Path(tmp_path, "list.lock").exists()


def test_a_lock_is_waited_for_and_then_refused(tmp_path):
    Path(tmp_path, "list.lock").write_text(f"1:{os.uname().nodename}")
    os.utime(tmp_path / "list.lock", (time.time() - 10,) * 2)
    with pytest.raises(SystemTrouble) as caught, DotLock(f"{tmp_path}/list", timeout=0.05):
        pass
    assert "list.lock" in caught.value.detail


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, monkeypatch):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    Path(tmp_path, "list.lock").write_text(f"{pid}:{os.uname().nodename}")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10)
    with DotLock(f"{tmp_path}/list", timeout=0.05):
        assert Path(tmp_path, "list.lock").read_text().startswith(f"{os.getpid()}:")
    assert os.listdir(tmp_path) == []


def test_the_lock_of_another_host_is_taken_over_after_two_minutes(tmp_path, monkeypatch):
    Path(tmp_path, "list.lock").write_text("123:elsewhere.example.org")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    with pytest.raises(SystemTrouble), DotLock(f"{tmp_path}/list", timeout=0.05):
        pass
    monkeypatch.setattr(time, "time", lambda: now + 130)
    with DotLock(f"{tmp_path}/list", timeout=0.05):
        pass


def test_a_holder_may_lock_again(tmp_path):
    lock = DotLock(f"{tmp_path}/list")
    with lock:
        with lock:
            pass
        assert Path(tmp_path, "list.lock").exists()
        lock.touch()
    assert not Path(tmp_path, "list.lock").exists()
