"""The launchers of examples/, for real: inetd, tcpserver, systemd's units, runit, s6, cron's shell.

Each example file is used as it stands, with its ports and paths replaced by those of the test.
"""

import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BIN, ROOT, Site

EXAMPLES = ROOT / "examples"
UNITS = sorted(path.name for path in (EXAMPLES / "systemd").iterdir())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def when_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Connect until somebody listens: launchers say nothing when they are ready."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            continue
        return
    raise AssertionError("the launcher ended")


def needs(program: str) -> pytest.MarkDecorator:
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return pytest.mark.skipif(not found, reason=f"needs {program}")


def a_message_goes_in(site: Site, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail("alice@example.net", "bob@example.org", "Subject: launched\n\nhello\n")
    entries = list((site.queue / "new").iterdir())
    assert len(entries) == 1
    assert b"Subject: launched" in entries[0].read_bytes()


def run_script(folder: Path, site: Site, replace: Callable[[str], str]) -> Path:
    """Copy a service folder's run script with its command changed for the test."""
    target = site.root / "service"
    target.mkdir()
    script = target / "run"
    script.write_text(replace((folder / "run").read_text()))
    script.chmod(0o755)
    return target


@needs("inetd")
@pytest.mark.skipif(os.geteuid() != 0, reason="inetd wants root")
def test_inetd_lines(site: Site) -> None:
    site.account("bob")
    port = free_port()
    line = next(
        line
        for line in (EXAMPLES / "inetd/inetd.conf").read_text().splitlines()
        if line.startswith("25 ")
    )
    wrapper = site.root / "smtpd-accept"  # inetd gives its programs a bare environment
    wrapper.write_text(
        f"#!/bin/sh\nexec {sys.executable} {BIN}/smtpd-accept --etc {site.etc} --spool {site.spool}"
        ' "$@"\n'
    )
    wrapper.chmod(0o755)
    line = line.replace("25 ", f"127.0.0.1:{port} ", 1).replace(" mail ", " root ")
    line = line.replace("/usr/local/bin/smtpd-accept", str(wrapper), 1)
    config = site.root / "inetd.conf"
    config.write_text(line + "\n")
    inetd = shutil.which("inetd", path="/usr/sbin:/usr/bin")
    assert inetd
    process = subprocess.Popen([inetd, "-i", str(config)], stderr=subprocess.DEVNULL)
    site.running.append(process)
    when_it_listens(port, process)
    a_message_goes_in(site, port)


@needs("tcpserver")
def test_tcpserver_script(site: Site) -> None:
    site.account("bob")
    port = free_port()
    process = subprocess.Popen(
        ["sh", str(EXAMPLES / "tcpserver.sh"), "127.0.0.1", str(port)],
        env={**site.environ, "PATH": f"{site.environ['PATH']}:/usr/bin"},
        stderr=subprocess.DEVNULL,
    )
    site.running.append(process)
    when_it_listens(port, process)
    a_message_goes_in(site, port)


@needs("systemd-socket-activate")
@pytest.mark.parametrize("accept", [False, True])
def test_systemd_socket_and_service(site: Site, accept: bool) -> None:
    site.account("bob")
    unit = (EXAMPLES / "systemd/smtpd-accept.service").read_text()
    match = re.search(r"^ExecStart=-?(.*)$", unit, re.M)
    assert match
    program, *arguments = match[1].split()
    port = free_port()
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}"]
    command += ["--accept", "--inetd"] if accept else []
    command += [f"--setenv={name}" for name in ("MAILTOOLS_ETC", "MAILTOOLS_SPOOL", "PATH")]
    process = subprocess.Popen(
        [*command, sys.executable, str(BIN / program), *arguments],
        env=site.environ,
        stderr=subprocess.DEVNULL,
    )
    site.running.append(process)
    when_it_listens(port, process)
    a_message_goes_in(site, port)


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_units_are_good(unit: str, site: Site) -> None:
    folder = site.root / "units"
    shutil.copytree(EXAMPLES / "systemd", folder)
    for path in folder.iterdir():
        text = re.sub(r"^(ExecStart=-?)", rf"\g<1>{BIN}/", path.read_text(), flags=re.M)
        path.write_text(re.sub(r"^(Documentation|ExecReload)=.*\n", "", text, flags=re.M))
    result = subprocess.run(
        ["systemd-analyze", "verify", str(folder / unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
    )
    ours = [line for line in result.stderr.splitlines() if any(name in line for name in UNITS)]
    assert not ours


@needs("runsv")
@pytest.mark.parametrize("supervisor", ["runsv", "s6-supervise"])
def test_supervised_listener_and_queue_run(site: Site, supervisor: str) -> None:
    if not shutil.which(supervisor):
        pytest.skip(f"needs {supervisor}")
    site.account("bob")
    port = free_port()
    kind = "runit" if supervisor == "runsv" else "s6"
    folder = run_script(
        EXAMPLES / kind / "smtpd-accept",
        site,
        lambda text: text.replace("--listen :25", f"--listen 127.0.0.1:{port}"),
    )
    process = subprocess.Popen(
        [supervisor, str(folder)], env=site.environ, stdout=subprocess.DEVNULL
    )
    site.running.append(process)
    try:
        when_it_listens(port, process)
        a_message_goes_in(site, port)
    finally:
        process.terminate()
        process.wait()


def test_crontab_line_delivers(site: Site) -> None:
    site.account("bob")
    sent = site.run(
        "sendmail", "-f", "alice@example.org", "bob@example.org", input=b"Subject: by cron\n\nx\n"
    )
    assert sent.returncode == 0, sent.stderr
    (line,) = (
        line
        for line in (EXAMPLES / "crontab").read_text().splitlines()
        if line.endswith("queue-run")
    )
    fields = line.split(None, 5)
    assert len(fields) == 6
    result = subprocess.run(["sh", "-c", fields[5]], env=site.environ, check=False, timeout=60)
    assert result.returncode == 0
    assert len(site.messages("bob")) == 1


@pytest.mark.parametrize("name", ["waiting", "domains", "held", "release", "again"])
def test_pipelines_run(site: Site, name: str) -> None:
    site.account("bob")
    for _ in range(2):
        site.run(
            "sendmail", "-f", "alice@example.org", "carol@example.net", input=b"Subject: x\n\ny\n"
        )
    environ = {**site.environ, "USER": "bob", "HOME": str(site.root)}
    script = ["sh", str(EXAMPLES / "pipelines.sh")]
    result = subprocess.run(
        [*script, name], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    if name in ("waiting", "held"):
        assert result.stdout.count("carol@example.net") == 2
    if name == "domains":
        assert result.stdout.split() == ["2", "example.net"]
    if name == "held":
        assert len(list((site.queue / "hold").iterdir())) == 2


def test_pipeline_takes_over_a_queue(site: Site) -> None:
    site.account("bob")
    dead = site.root / "dead" / "queue"
    (site.root / "dead").mkdir()
    site.run(
        "sendmail", "-f", "alice@example.org", "bob@example.org", input=b"Subject: moved\n\nx\n",
        env={**site.environ, "MAILTOOLS_SPOOL": str(dead.parent)},
    )  # fmt: skip
    site.run("queue-run")  # makes our queue
    script = ["sh", str(EXAMPLES / "pipelines.sh"), "takeover", str(dead), str(site.queue)]
    subprocess.run(script, env=site.environ, check=True)
    site.run("queue-run")
    assert len(site.messages("bob")) == 1
