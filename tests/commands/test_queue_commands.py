"""mailq, queue-list and queue-edit: what they show, and what they do to entries."""

import json
import os
import pty
import re
import subprocess
import threading
import time

import pytest
from smtpsink import Taker

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, Report
from mailtools.store.queue import Queue

LETTER = b"Subject: hello\n\nhi\n"


@pytest.fixture
def queue(site):
    queue = Queue(str(site.queue))
    queue.create()
    return queue


def put(queue, sender="bob@example.org", *paths, age=0.0):
    paths = paths or ("carol@example.net",)
    envelope = Envelope(sender, tuple(ForwardPath(path) for path in paths))
    id_ = f"{int(time.time() - age)}.M000001P1R{len(list(queue.all())):08x}" if age else ""
    writer = queue.begin(envelope, id_)
    writer.write(LETTER)
    return writer.commit()


def delay(queue, id_, *texts, when=4102444800):
    """Let an entry wait till 2100, with a reason for each forward-path."""
    entry = queue.open(id_)
    reports = [
        Report(path.address, DELAYED, "4.4.1", text)
        for path, text in zip(entry.envelope.forward_paths, texts, strict=False)
    ]
    queue.record(entry, reports, time.time())
    queue.defer(entry, when)
    return id_


def lines(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


def states(queue):
    return {place.id: place.state.value for place in queue.all()}


def check_mailq(output):
    """Count as the monitoring plugin does for Postfix: by the last line."""
    last = output[-1]
    if last == "Mail queue is empty":
        return 0
    match = re.search(r"-- (\d+) Kbytes in (\d+) Request", last)
    assert match
    return int(match[2])


def test_an_empty_queue(site, queue):
    assert lines(site.run("mailq")) == ["Mail queue is empty"]
    assert lines(site.run("mailq", "--json")) == lines(site.run("queue-list")) == []


@pytest.mark.parametrize(
    "words",
    [["mailq"], ["sendmail", "-bp"], ["queue-list"], ["queue-list", "--suppressed"],
     ["queue-list", "--table"], ["queue-edit", "release", "1.M1P1R1"]],
    ids=" ".join,
)  # fmt: skip
def test_a_queue_that_is_not_there_is_no_empty_one(site, words):
    done = site.run(*words)
    assert done.returncode == os.EX_OSFILE
    assert done.stdout == b""
    assert f"There is no mail queue {site.queue}" in done.stderr.decode()


def test_mailq_shows_envelope_and_reason_in_postfix_layout(site, queue):
    held = put(queue, "", "dave@example.net")
    queue.hold(held)
    due = put(queue)
    waits = delay(
        queue, put(queue, "bob@example.org", "a@x.test", "b@x.test"), "no route", "no route"
    )
    shown = lines(site.run("mailq"))
    assert shown[0].startswith("-Queue ID-")
    assert shown[0].endswith("--Size-- ----Arrival Time--- -Sender/Recipient-------")
    heads = [line for line in shown if re.match(r"[0-9]", line)]
    pattern = r"(\S+?)([*!]?) +(\d+) [A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d (\S+)"
    found = [re.fullmatch(pattern, line).groups() for line in heads]
    size = str(len(LETTER))
    assert found == [
        (due, "*", size, "bob@example.org"),
        (waits, "", size, "bob@example.org"),
        (held, "!", size, "MAILER-DAEMON"),
    ]
    assert [line.strip() for line in shown].count("(no route)") == 1
    assert next(line for line in shown if "(no route)" in line).endswith("(no route)")
    assert shown[-1] == "-- 1 Kbytes in 3 Requests."
    assert check_mailq(shown) == 3


def test_mailq_json_has_postfix_keys(site, queue):
    delay(queue, put(queue, "bob@example.org", "a@x.test", "b@x.test"), "no route")
    (row,) = map(json.loads, lines(site.run("mailq", "--json")))
    assert row == {
        "queue_name": "deferred",
        "queue_id": row["queue_id"],
        "arrival_time": int(row["queue_id"].partition(".")[0]),
        "message_size": len(LETTER),
        "forced_expire": False,
        "sender": "bob@example.org",
        "recipients": [
            {"address": "a@x.test", "delay_reason": "no route"},
            {"address": "b@x.test"},
        ],
    }


def test_the_null_sender_is_called_as_postfix_does(site, queue):
    put(queue, "", "a@x.test")
    (postfix,) = map(json.loads, lines(site.run("mailq", "--json")))
    (own,) = map(json.loads, lines(site.run("queue-list", "--json")))
    assert postfix["sender"] == own["sender"] == "MAILER-DAEMON"
    assert own["reverse_path"] == ""


def test_queue_list_is_a_line_an_entry(site, queue):
    id_ = delay(queue, put(queue, "", "a@x.test", "b@x.test", age=7300), "no\troute")
    (line,) = lines(site.run("queue-list"))
    assert line.split("\t") == [
        id_, "wait", str(len(LETTER)), "2h1m", "<>", "a@x.test b@x.test", "2100-01-01T00:00Z",
        "no route",
    ]  # fmt: skip


def test_queue_list_chooses(site, queue):
    old = put(queue, "", "a@x.test", age=3 * 86400)
    held = put(queue, "bob@example.org", "b@y.test")
    queue.hold(held)
    new = put(queue, "Carol@example.org", "b@y.test", "c@x.test")

    def ids(*arguments):
        return set(lines(site.run("queue-list", "--ids", *arguments)))

    assert ids() == {old, held, new}
    assert ids("--from", "<>") == ids("--older", "2d") == {old}
    assert ids("--from", "carol@EXAMPLE.org") == {new}
    assert ids("--to", "*@x.test") == {old, new}
    assert ids("--to", "b@y.test", "--state", "hold") == {held}
    assert ids("--state", "bad") == set()
    assert site.run("queue-list", "--older", "soon").returncode == os.EX_USAGE


def test_queue_list_json_tells_all(site, queue):
    delay(queue, put(queue), "no route")
    (row,) = map(json.loads, lines(site.run("queue-list", "--json")))
    assert row["recipients"] == [
        {"address": "carol@example.net", "delay_reason": "no route", "status": "4.4.1"}
    ]
    (postfix,) = map(json.loads, lines(site.run("mailq", "--json")))
    del row["recipients"], postfix["recipients"]
    assert {key: row[key] for key in postfix} == postfix
    assert (row["due"], row["attempts"], row["state"]) == (4102444800, 1, "wait")


def test_queue_list_table_counts_by_domain_and_age(site, queue):
    put(queue, "bob@example.org", "a@x.test", "b@X.test", "c@y.test", age=12 * 60)
    put(queue, "bob@example.org", "d@x.test", age=2 * 86400)
    put(queue, "bob@example.org", "postmaster")
    head, *found = [line.split() for line in lines(site.run("queue-list", "--table"))]
    assert head == ["TOTAL", "SIZE", "5", "10", "20", "40", "80", "160", "320", "640", "1280",
                    "1280+"]  # fmt: skip
    size = len(LETTER)
    assert found == [
        ["TOTAL", "3", str(3 * size), *"1010000001"],
        ["x.test", "2", str(2 * size), *"0010000001"],
        ["(no", "domain)", "1", str(size), *"1000000000"],
        ["y.test", "1", str(size), *"0010000000"],
    ]
    chosen = lines(site.run("queue-list", "--table", "--to", "*@y.test"))
    assert [line.split()[0] for line in chosen[1:]] == ["TOTAL", "x.test", "y.test"]
    assert site.run("queue-list", "--table", "--json").returncode == os.EX_USAGE


def test_a_table_of_nothing_is_a_total_of_nothing(site, queue):
    assert lines(site.run("queue-list", "--table"))[1].split() == ["TOTAL", "0", "0", *"0" * 10]


def test_a_bad_entry_is_listed_with_its_fault(site, queue):
    (site.queue / "bad" / "1764000000.M000001P1R00000001").write_bytes(b"rubbish\n\nx")
    (line,) = lines(site.run("queue-list", "--state", "bad"))
    assert "Unknown format" in line
    assert any("Unknown format" in line for line in lines(site.run("mailq")))


def test_editing_moves_entries(site, queue):
    one, two = put(queue), delay(queue, put(queue), "no route")
    assert site.run("queue-edit", "hold", one).returncode == 0
    assert states(queue) == {one: "hold", two: "wait"}
    assert site.run("queue-edit", "retry", one, two).returncode == 0
    assert states(queue) == {one: "hold", two: "new"}
    listed = site.run("queue-list").stdout
    assert site.run("queue-edit", "release", input=listed).returncode == 0
    assert states(queue) == {one: "new", two: "new"}
    listed = site.run("mailq").stdout
    assert site.run("queue-edit", "remove", input=listed).returncode == 0
    assert states(queue) == {}


def test_one_fault_does_not_stop_the_rest(site, queue):
    one = put(queue)
    done = site.run("queue-edit", "hold", "1.M1P1R1", one, "../../etc/passwd")
    assert done.returncode == os.EX_NOINPUT
    assert done.stderr.decode().count("No such entry") == 2
    assert states(queue) == {one: "hold"}


def test_show_prints_the_file_and_the_journal(site, queue):
    id_ = delay(queue, put(queue), "no route")
    shown = site.run("queue-edit", "show", id_).stdout
    assert shown.startswith(b"mailtools-queue 1\nreverse-path bob@example.org\n")
    assert LETTER in shown
    assert b"\tcarol@example.net\tdelayed\t4.4.1\tno route\n" in shown


def test_replay_commits_a_copy_as_new(site, queue, tmp_path):
    old = delay(queue, put(queue, "bob@example.org", "a@x.test", "b@x.test"), "no route")
    new = lines(site.run("queue-edit", "replay", old))[0]
    assert states(queue) == {old: "wait", new: "new"}
    copy = queue.open(new)
    assert copy.message().endswith(LETTER)
    assert [path.address for path in copy.pending] == ["a@x.test", "b@x.test"]
    saved = tmp_path / "from-elsewhere"
    saved.write_bytes((site.queue / "new" / new).read_bytes())
    third = lines(site.run("queue-edit", "replay", str(saved)))[0]
    assert queue.open(third).message().endswith(LETTER)
    saved.write_bytes(b"no entry\n\n")
    assert site.run("queue-edit", "replay", str(saved)).returncode == os.EX_DATAERR


def test_expire_fails_what_waits_and_leaves_the_telling_to_the_queue_run(site, queue):
    id_ = delay(queue, put(queue, "bob@example.org", "a@x.test", "b@x.test"), "no route")
    assert site.run("queue-edit", "expire", id_).returncode == 0
    assert states(queue) == {id_: "new"}
    assert queue.open(id_).pending == []
    done = site.run("queue-run")
    assert done.returncode == 0, done.stderr
    assert id_ not in states(queue)
    assert b"failed" in done.stderr or b"notified" in done.stderr


def on_terminal(site, words, given=b""):
    """Run a command whose stderr is a terminal; give its stdout and what the terminal shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words, env=site.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    shown = bytearray()

    def read():
        try:
            while data := os.read(ours, 4096):
                shown.extend(data)
        except OSError:
            pass  # the terminal's other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    output, _ = process.communicate(given)
    reader.join()
    os.close(ours)
    assert process.returncode == 0, bytes(shown)
    return output, bytes(shown)


def test_long_work_shows_how_far_it_is_on_a_terminal_only(site, queue):
    first = put(queue)
    entry = (site.queue / "new" / first).read_bytes()
    for number in range(249):
        (site.queue / "new" / f"1764000000.M{number:06}P1R00000001").write_bytes(entry)
    listed, shown = on_terminal(site, ["queue-list", "--ids"])
    assert b"100%" in shown
    assert len(listed.splitlines()) == 250
    table, shown = on_terminal(site, ["queue-list", "--table"])
    assert b"100%" in shown
    assert b"100%" not in table
    output, shown = on_terminal(site, ["queue-edit", "hold"], listed)
    assert (output, b"100%" in shown) == (b"", True)
    assert set(states(queue).values()) == {"hold"}
    assert on_terminal(site, ["queue-edit", "release", first])[1] == b""
    done = site.run("queue-edit", "release", input=listed)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_full_pipe_that_closes_early_is_no_fault(site, queue):
    for _ in range(3):
        put(queue)
    done = subprocess.run(
        "queue-list | head -1", shell=True, env=site.environ, capture_output=True, check=False
    )
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_what_holds_an_entry_is_listed(site, queue):
    by_rule, by_hand = put(queue), put(queue)
    queue.hold(by_rule, "the rule 'to *' of the control file hold")
    assert site.run("queue-edit", "hold", by_hand).returncode == 0
    listed = site.run("queue-list", "--state", "hold").stdout.decode().splitlines()
    assert [line.rpartition("\t")[2] for line in listed] == [
        "held by the rule 'to *' of the control file hold",
        "held by the operator",
    ]
    told = site.run("queue-list", "--json").stdout.splitlines()
    assert [json.loads(line)["held_by"] for line in told][1] == "the operator"


def test_rerouted_messages_go_another_way_and_the_others_the_usual_one(site, queue):
    with Taker() as usual, Taker() as other:
        site.set("routes", f":127.0.0.1:{usual.port}")
        ids = [delay(queue, put(queue), "busy") for _ in range(2)]
        way = f"127.0.0.1:{other.port}"
        done = site.run("queue-edit", "reroute", "--via", way, input=f"{ids[0]}\n".encode())
        assert done.returncode == 0, done.stderr
        listed = lines(site.run("queue-list", "--state", "new"))
        assert [line.split("\t")[0] for line in listed] == ids[:1]
        assert f"goes via {way}: busy" in listed[0]
        assert json.loads(site.run("queue-list", "--json").stdout.splitlines()[0])["via"] == way
        assert f"(goes via {way})".encode() in site.run("mailq").stdout
        told = site.run("mail-why", ids[0]).stdout.decode()
        assert f"by the operator, to go via {way}\n" in told
        assert f"queue-edit reroute --usual {ids[0]}\n" in told
        planned = site.run("queue-run", "--dry-run").stdout.decode()
        assert f"\trelay-send --via={way}\t{way}\t" in planned
        assert site.run("queue-edit", "retry", ids[1]).returncode == 0
        done = site.run("queue-run")
        assert done.returncode == 0
    relayed = [line for line in done.stderr.decode().splitlines() if line.startswith("relayed ")]
    assert len(relayed) == 2
    assert all(" tls=none tls_wanted=may text=" in line for line in relayed)
    assert (len(other.messages), len(usual.messages)) == (1, 1)
    assert f"to go via {way}\n" in site.run("mail-why", ids[0]).stdout.decode()


def test_a_way_is_taken_back(site, queue):
    id_ = put(queue)
    assert site.run("queue-edit", "reroute", "--via", "smtps:mail.example.com", id_).returncode == 0
    assert queue.journal(id_).way == "smtps:mail.example.com"
    assert site.run("queue-edit", "reroute", "--usual", id_).returncode == 0
    assert b"\trelay-send\texample.net\t" in site.run("queue-run", "--dry-run").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["reroute"],
        ["reroute", "--via", "a.test", "--usual"],
        ["retry", "--via", "a.test"],
        ["reroute", "--via", "a b"],
        ["reroute", "--via", "host:port:what"],
    ],
)
def test_a_way_that_is_none(site, queue, words):
    id_ = put(queue)
    assert site.run("queue-edit", *words, id_).returncode == os.EX_USAGE
    assert queue.journal(id_).way == ""


def test_what_the_journal_calls_a_way_is_no_command(site, queue):
    """Who owns the queue must not choose what a queue run starts as root."""
    id_ = put(queue)
    queue.reroute(id_, "--etc=/tmp; pipe-deliver sh")
    assert b"\trelay-send\texample.net\t" in site.run("queue-run", "--dry-run").stdout


def test_nothing_is_waited_for_on_a_terminal(site, queue):
    master, slave = pty.openpty()
    done = site.run("queue-edit", "hold", input=None, stdin=slave)
    os.close(master)
    os.close(slave)
    assert done.returncode == os.EX_USAGE
    assert b"queue-list" in done.stderr


def test_lines_of_json_can_be_piped(site, queue):
    first, second = put(queue, "bob@example.org", "a@x.test"), put(queue)
    listed = site.run("queue-list", "--json", "--to", "a@x.test").stdout
    assert site.run("queue-edit", "hold", input=listed).returncode == 0
    assert states(queue) == {first: "hold", second: "new"}
    why = site.run("mail-why", "--json", second).stdout
    assert site.run("queue-edit", "hold", input=why).returncode == 0
    assert states(queue)[second] == "hold"
    done = site.run("queue-edit", "release", input=b'{"queue_id": \n{}\n[1]\n' + listed)
    assert done.returncode == os.EX_NOINPUT
    assert b"Traceback" not in done.stderr
    assert states(queue)[first] == "new"
