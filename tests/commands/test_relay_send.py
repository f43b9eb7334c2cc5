"""relay-send as a process: once from a shell, as an agent on pipes, and its complaints."""

import subprocess
from pathlib import Path

import pytest
from smtpsink import Taker

from mailtools.mail.envelope import Envelope, ForwardPath, encode


def entry(folder: Path, name: str, *paths: str) -> Path:
    file = folder / name
    envelope = Envelope("alice@example.org", tuple(map(ForwardPath, paths)))
    file.write_bytes(encode(envelope) + f"Subject: {name}\n\nText.\n".encode())
    return file


def test_once_from_a_shell(site):
    with Taker() as taker:
        done = site.run(
            *("relay-send", "--via", f"127.0.0.1:{taker.port}", "--from", "alice@example.org"),
            *("bob@example.net", "carol@example.net", "bob@example.net"),
            input=b"Subject: x\r\n\r\n.\r\n",
        )
    said = f"relayed\t2.0.0\t[127.0.0.1]:{taker.port} said 250 ok"
    assert done.stdout.decode().splitlines() == [
        f"-\tbob@example.net\t{said}",
        f"-\tcarol@example.net\t{said}",
    ]
    assert done.returncode == 0
    assert taker.messages == [
        ("alice@example.org", ["bob@example.net", "carol@example.net"], b"Subject: x\r\n\r\n..\r\n")
    ]


def test_a_host_that_is_down_is_exit_code_75(site):
    with Taker() as taker:
        port = taker.port
    done = site.run("relay-send", "--via", f"127.0.0.1:{port}", "bob@example.net", input=b"\n")
    assert done.returncode == 75
    assert done.stdout.decode() == (
        f"-\tbob@example.net\tdelayed\t4.4.1\t[127.0.0.1]:{port}: Connection refused\n"
    )
    assert f"attempted peer=[127.0.0.1]:{port} tls=none tls_wanted=may" in done.stderr.decode()


def test_as_an_agent(site, tmp_path):
    jobs = [entry(tmp_path, f"e{n}", f"u{n}@example.net", f"v{n}@example.net") for n in range(5)]
    lines = "".join(
        f"{n}\t{file}\talice@example.org\tu{n}@example.net\tv{n}@example.net\n"
        for n, file in enumerate(jobs)
    )
    with Taker() as taker:
        site.set("routes", f":127.0.0.1:{taker.port}")
        done = site.run("relay-send", "--jobs", "--side-by-side", "7", input=lines.encode())
    first, *reports = done.stdout.decode().splitlines()
    assert first == "ready 1 jobs=7"
    rows = sorted(line.split("\t")[:4] for line in reports)
    assert rows == sorted(
        [str(n), f"{letter}{n}@example.net", "relayed", "2.0.0"]
        for n in range(5)
        for letter in "uv"
    )
    assert done.returncode == 0
    texts = {text for _, _, text in taker.messages}
    assert texts == {f"Subject: e{n}\r\n\r\nText.\r\n".encode() for n in range(5)}


def test_an_agent_answers_before_its_input_ends(site, tmp_path):
    file = entry(tmp_path, "e", "bob@example.net")
    with Taker() as taker:
        process = site.start(
            *("relay-send", "--via", f"127.0.0.1:{taker.port}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"ready 1 jobs=250\n"
        for name in ("a", "b"):
            process.stdin.write(f"{name}\t{file}\talice@example.org\tbob@example.net\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().startswith(
                f"{name}\tbob@example.net\trelayed".encode()
            )
        process.stdin.close()
        assert process.wait(30) == 0
        assert taker.connections == 1


def test_a_queue_run_that_is_gone_ends_the_agent(site, tmp_path):
    file = entry(tmp_path, "e", "bob@example.net")
    with Taker() as taker:
        process = site.start(
            *("relay-send", "--via", f"127.0.0.1:{taker.port}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(f"a\t{file}\talice@example.org\tbob@example.net\n".encode())
        process.stdin.close()
        assert process.wait(30) == 75
        assert b"Traceback" not in process.stderr.read()


def test_a_stopped_agent_finishes_what_it_has_in_hand(site, tmp_path):
    file = entry(tmp_path, "e", "bob@example.net")
    with Taker(gate=2) as taker:  # the answer to the message waits for us
        process = site.start(
            *("relay-send", "--via", f"127.0.0.1:{taker.port}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        process.stdin.write(f"a\t{file}\talice@example.org\tbob@example.net\n".encode())
        process.stdin.flush()
        taker.arrived.wait(30)
        process.terminate()
        taker.gate.wait(30)
        assert process.stdout.readline().startswith(b"a\tbob@example.net\trelayed")
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--lmtp", "bob@example.net"], 64, "--lmtp needs --via"),
        (["--bogus"], 64, "--bogus"),
        (["--jobs", "bob@example.net"], 64, "--jobs"),
        (["bob"], 65, "needs a local-part"),
        (["--from", "x y", "bob@example.net"], 65, ""),
        (["--via", "x:y:z", "bob@example.net"], 64, "'x:y:z'"),
    ],
)
def test_wrong_usage_is_named(site, arguments, code, said):
    done = site.run("relay-send", *arguments)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("routes", "example.net", "no colon"),
        ("routes", "example.net:a:b:c", "routes"),
        ("resolver", "dns.example.org", "resolver"),
        ("route-credentials", "host:alice", "route-credentials"),
    ],
)
def test_a_fault_in_the_control_folder_is_named_and_temporary(site, name, text, said):
    site.set(name, text).chmod(0o600)
    done = site.run("relay-send", "bob@example.net", input=b"\n")
    assert done.returncode == 75
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_bad_job_line_ends_the_agent_with_a_word(site):
    done = site.run("relay-send", input=b"nonsense\n")
    assert done.returncode == 65
    assert b"Bad job line" in done.stderr or b"mailtools-jobs" in done.stderr


def test_job_lines_in_a_plain_file(site, tmp_path):
    with Taker() as taker:
        path = entry(tmp_path, "1764000000.M1P2R3", "bob@example.net")
        (tmp_path / "jobs").write_text(f"7\t{path}\talice@example.org\tbob@example.net\n")
        with (tmp_path / "jobs").open("rb") as jobs:
            agent = site.start(
                *("relay-send", "--jobs", "--via", f"127.0.0.1:{taker.port}"),
                stdin=jobs,
                stdout=subprocess.PIPE,
            )
            said = agent.communicate(timeout=60)[0].decode().splitlines()
    assert agent.returncode == 0
    text, facts = f"[127.0.0.1]:{taker.port} said 250 ok", "tls=none tls_wanted=may"
    assert said[1:] == [f"7\tbob@example.net\trelayed\t2.0.0\t{text}\t{facts}"]
