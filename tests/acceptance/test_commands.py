"""The commands people and programs ask with, each as a process of its own, beside a daemon or not.

Reading ones share a place where receipts stand in every state a person meets; the others get a copy of it.
"""

import csv
import fcntl
import hashlib
import io
import json
import os
import pty
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import termios
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd import samples
from tests.acceptance.place import ROOT, Place, SandboxProcess, wait_until

FORMULA = "=cmd|x.jpg"
CATCH_ALL = '[[routes]]\nsend = "concur:receipt"\n'
MIXED = {
    "entries/E-1/lunch.jpg": (samples.small_jpeg(1), "uploaded"),
    f"reports/R-1/{FORMULA}": (samples.small_jpeg(2), "uploaded"),
    "entries/E-2/notes.pdf": (samples.text(), "rejected"),
    "loose.jpg": (samples.small_jpeg(3), "held"),
    "nowhere/x.jpg": (samples.small_jpeg(4), "failed"),
    "reports/accept-then-drop/taxi.jpg": (samples.small_jpeg(5), "unconfirmed"),
}


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "sandbox.log")
    yield process
    process.end()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, shared_sandbox: SandboxProcess) -> Place:
    """For looking only."""
    place = Place(tmp_path_factory.mktemp("mixed") / "place", shared_sandbox.url)
    place.config.write_text(place.config.read_text().replace(CATCH_ALL, ""))
    for path, (content, _) in MIXED.items():
        place.drop(path, content)
    place.ingestd("run", "--until-idle", expect=3)
    return place


@pytest.fixture(scope="module")
def rows(mixed: Place) -> list[dict[str, Any]]:
    """What `list` says of it, and of every copy before it is changed."""
    listed = mixed.receipts()
    assert {r["path"]: r["state"] for r in listed} == {path: state for path, (_, state) in MIXED.items()}
    return listed


@pytest.fixture(scope="module")
def ids(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The receipt in each state (one of those uploaded)."""
    return {r["state"]: r["id"] for r in rows}


@pytest.fixture
def copied(mixed: Place, shared_sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Place]:
    """A copy of it, free to be changed."""
    place = Place(tmp_path / "copy", shared_sandbox.url)
    shutil.rmtree(place.inbox)
    for name in ("inbox", "data"):
        shutil.copytree(mixed.directory / name, place.directory / name)
    yield place
    place.end()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Place]:
    """A place whose target can't be reached."""
    place = Place(tmp_path / "place", "http://127.0.0.1:9")
    yield place
    place.end()


def made(place: Place, name: str, content: bytes) -> str:
    """A file outside the watched folder; its path."""
    path = place.directory / name
    path.write_bytes(content)
    return str(path)


def refused(place: Place, *arguments: str, expect: int = 2) -> str:
    done = place.ingestd(*arguments, expect=expect)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("ingestd: "), done.stderr
    return done.stderr


# --- submit ------------------------------------------------------------------------------------------------


def test_submit_beside_a_daemon_waits_for_the_image_id(place: Place, sandbox: SandboxProcess) -> None:
    files = [made(place, f"{n}.jpg", samples.small_jpeg(n)) for n in (1, 2)]
    with place.daemon():
        done = place.ingestd("submit", *files, "--to", "concur:expenseentry/E$1", "--wait", expect=3)
        assert "already" in done.stdout, "an entry takes one image"
        again = place.ingestd("submit", *files, "--to", "concur:report/R-1", "--wait", "--json")
    receipts = json.loads(again.stdout)["receipts"]
    held = [i["image_id"] for i in sandbox.images() if i["place"] == "report/R-1"]
    assert sorted(r["image_id"] for r in receipts) == sorted(held)
    assert [(r["filename"], r["state"], r["repeat"]) for r in receipts] == [
        ("1.jpg", "uploaded", False),
        ("2.jpg", "uploaded", False),
    ]
    (entry,) = (i["image_id"] for i in sandbox.images() if i["place"] == "expenseentry/E$1")
    assert f"uploaded, image ID {entry}" in done.stdout


def test_submit_tells_a_rejection_by_its_exit_code_and_its_reason(
    place: Place, sandbox: SandboxProcess
) -> None:
    with place.daemon():
        file = made(place, "notes.pdf", samples.text())
        done = place.ingestd("submit", file, "--to", "concur:receipt", "--wait", expect=3)
    assert "rejected" in done.stdout and "text" in done.stdout
    assert sandbox.images() == []


def test_what_was_submitted_without_a_daemon_is_safe_and_goes_with_the_next_run(
    place: Place, sandbox: SandboxProcess
) -> None:
    content = samples.small_jpeg(1)
    file = made(place, "a.jpg", content)
    first = place.ingestd("submit", file, "--to", "concur:receipt", "--wait", expect=3)
    assert "no `ingestd run` is active" in first.stderr
    repeat = place.ingestd("submit", file, "--to", "concur:receipt")
    assert "a repeat" in repeat.stdout
    assert first.stdout.split()[0] == repeat.stdout.split()[0]
    Path(file).unlink()
    place.ingestd("run", "--until-idle")
    assert [i["sha256"] for i in sandbox.images()] == [hashlib.sha256(content).hexdigest()]

    made(place, "a.jpg", content)
    known = place.ingestd("submit", file, "--to", "concur:receipt", "--wait")
    assert sandbox.images()[0]["image_id"] in known.stdout
    assert known.stderr == "", "it is uploaded already, so no daemon is missing"
    place.ingestd("submit", file, "--to", "concur:receipt", "--again")
    place.ingestd("run", "--until-idle")
    assert len(sandbox.images()) == 2
    books = place.balance()
    assert books | {"closed": True, "seen": 4, "receipts": 2, "sightings": 2} == books


def test_files_submitted_to_be_merged_are_the_pages_of_one_receipt_in_the_order_given(
    place: Place, sandbox: SandboxProcess
) -> None:
    files = [made(place, f"{n}.jpg", samples.jpeg(n)) for n in (2, 1)]
    with place.daemon():
        done = place.ingestd(
            "submit", *files, "--merge", "--to", "concur:expenseentry/E1", "--wait", "--json"
        )
        (receipt,) = json.loads(done.stdout)["receipts"]
        third = made(place, "3.jpg", samples.jpeg(3))
        later = place.ingestd("submit", third, "--to", "concur:expenseentry/E1", "--wait", expect=3)
    assert (receipt["state"], receipt["documents"], receipt["filename"]) == ("uploaded", 2, "2.jpg")
    (image,) = sandbox.images()
    assert (image["place"], image["image_id"]) == ("expenseentry/E1", receipt["image_id"])
    assert "held" in later.stdout and receipt["id"] in later.stdout

    shown = json.loads(place.ingestd("show", receipt["id"], "--json").stdout)
    contents = [Path(file).read_bytes() for file in files]
    assert [(file["path"], file["size"], file["sha256"]) for file in shown["files"]] == [
        (name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in zip(("2.jpg", "1.jpg"), contents, strict=True)
    ]
    assert shown["documents"] == 2 and shown["image"]["type"] == "application/pdf"
    assert shown["image"]["pages"] == 2 and shown["steps"] and shown["warnings"] == []
    assert shown["image"]["sha256"] == image["sha256"]
    assert Path(shown["thumbnail"]).read_bytes().startswith(b"\xff\xd8")
    told = place.ingestd("show", receipt["id"]).stdout
    for line in (f"document   {shown['files'][1]['sha256']}", f"done       {shown['steps'][0]}",
                 f"thumbnail  {shown['thumbnail']}", "2 page(s)"):  # fmt: skip
        assert line in told


def test_a_warning_is_shown_wherever_the_receipt_is(place: Place, sandbox: SandboxProcess) -> None:
    """The same photo for two slots."""
    file = made(place, "lunch.jpg", samples.jpeg(1))
    with place.daemon():
        first = place.ingestd("submit", file, "--to", "concur:report/R-1", "--wait", "--json")
        second = place.ingestd("submit", file, "--to", "concur:report/R-2", "--wait", "--json")
    (one,), (two,) = (json.loads(done.stdout)["receipts"] for done in (first, second))
    assert (one["state"], two["state"], one["warnings"]) == ("uploaded", "uploaded", [])
    (warning,) = two["warnings"]
    assert one["id"] in warning and one["image_id"] in warning
    (listed,) = (row for row in place.receipts() if row["id"] == two["id"])
    assert listed["warnings"] == [warning]
    marked = [line for line in place.ingestd("list").stdout.splitlines() if "warning: " in line]
    assert len(marked) == 1 and two["id"] in marked[0] and warning in marked[0]
    assert f"warning    {warning}" in place.ingestd("show", two["id"]).stdout
    table = csv.DictReader(io.StringIO(place.ingestd("export").stdout))
    assert {row["id"]: json.loads(row["warnings"]) for row in table} == {one["id"]: [], two["id"]: [warning]}


def test_an_archive_is_not_submitted_but_the_way_to_do_it_is_told(lonely: Place) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", samples.small_jpeg(1))
    path = made(lonely, "batch.zip", archive.getvalue())
    words = refused(lonely, "submit", path, "--to", "concur:receipt")
    assert path in words and "unpack it" in words and "--merge" in words
    assert not (lonely.directory / "data/ledger.db").exists()


def test_check_looks_at_the_files_of_passwords_and_at_pages_that_can_not_be_separate(lonely: Place) -> None:
    text = lonely.config.read_text()
    entry = 'send = "concur:expenseentry/{entry}"\n'
    lonely.config.write_text(text.replace(entry, entry + 'passwords_file = "pdf"\npages = "separate"\n'))
    problem = lonely.ingestd("check", expect=2).stderr
    assert "routes[1].passwords_file" in problem and "does not exist" in problem
    passwords = lonely.directory / "pdf"
    passwords.write_text("s3cret\n")
    passwords.chmod(0o644)
    done = lonely.ingestd("check")
    assert "routes[1].passwords_file" in done.stderr and "chmod o=" in done.stderr
    assert "routes[1].pages" in done.stderr and '"merge"' in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


# --- looking -----------------------------------------------------------------------------------------------

KEYS = {
    *("id", "state", "source", "filename", "sha256", "documents", "target", "slot", "image_id", "attempts"),
    *("reason", "due_at", "received_at", "updated_at"),
}


def test_list_as_json_has_every_row_newest_first(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == len(MIXED)
    milliseconds = [r["received_at"][:23] for r in rows]
    assert milliseconds == sorted(milliseconds, reverse=True)
    assert [r["id"] for r in rows] == sorted((r["id"] for r in rows), reverse=True)
    for row in rows:
        assert row.keys() >= KEYS
        assert row["sha256"] == hashlib.sha256(MIXED[row["path"]][0]).hexdigest()
        assert (row["image_id"] is None) == (row["state"] != "uploaded")
        assert (row["reason"] is None) == (row["state"] == "uploaded")
    (held,) = (row for row in rows if row["state"] == "held")
    assert (held["target"], held["slot"]) == (None, None)


def test_list_takes_states_and_a_limit(mixed: Place) -> None:
    def states(*arguments: str) -> list[str]:
        listed = json.loads(mixed.ingestd("list", "--json", *arguments).stdout)["receipts"]
        return [each["state"] for each in listed]

    assert sorted(states("--state", "failed", "--state", "uploaded")) == ["failed", "uploaded", "uploaded"]
    assert states("--state", "dropped") == []
    assert len(states("--limit", "2")) == 2


def test_list_in_a_pipe_is_one_tab_separated_line_for_each_receipt(
    mixed: Place, rows: list[dict[str, Any]]
) -> None:
    lines = [line.split("\t") for line in mixed.ingestd("list").stdout.splitlines()]
    assert [line[:3] for line in lines] == [[row["id"], row["state"], row["path"]] for row in rows]
    assert {len(line) for line in lines} == {6}


@pytest.mark.parametrize("columns", [80, 200])
def test_list_on_a_terminal_is_a_table_that_keeps_to_its_width(
    mixed: Place, rows: list[dict[str, Any]], columns: int
) -> None:
    shown = at_terminal(mixed.command("list"), columns)
    lines = shown.splitlines()
    assert "receipt" in lines[0] and "state" in lines[0]
    assert max(map(len, lines)) <= columns
    assert lines[-1] == f"{len(MIXED)} receipts"
    if columns == 200:
        assert all(any(r["id"] in line and r["state"] in line for line in lines) for r in rows)
    # Folded or not, nothing is cut off.
    assert shown.count("…") == sum((row["reason"] or "").count("…") for row in rows)


def at_terminal(command: list[str], columns: int) -> str:
    """What a command writes to a terminal of that width, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:
            pass  # Linux ends a terminal whose last writer is gone with EIO
        assert process.wait(30) == 0, text
    os.close(ours)
    plain = text.decode().replace("\r\n", "\n").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "\x1b" not in plain
    return plain


def test_show_tells_a_person_what_to_do_next(
    mixed: Place, rows: list[dict[str, Any]], ids: dict[str, str]
) -> None:
    told = {state: mixed.ingestd("show", ids[state]).stdout for state in ("held", "failed")}
    assert "--to TARGET:SLOT" in told["held"]
    assert "ingestd retry" in told["failed"] and "404" in told["failed"]
    (unconfirmed,) = (row for row in rows if row["state"] == "unconfirmed")
    text = mixed.ingestd("show", unconfirmed["id"][:30]).stdout
    assert f"ingestd confirm {unconfirmed['id']} --image-id" in text
    assert unconfirmed["reason"] in text


def test_show_as_json_has_the_history_and_every_try(mixed: Place, rows: list[dict[str, Any]]) -> None:
    (failed,) = (row for row in rows if row["state"] == "failed")
    shown = json.loads(mixed.ingestd("show", failed["id"], "--json").stdout)
    assert {key: shown[key] for key in failed} == failed
    events = [(entry["before"], entry["event"], entry["after"]) for entry in shown["history"]]
    assert events == [
        (None, "accept", "received"),
        ("received", "prepare", "ready"),
        ("ready", "claim", "claimed"),
        ("claimed", "begin", "uploading"),
        ("uploading", "refuse", "failed"),
    ]
    (only,) = shown["tries"]
    assert (only["number"], only["outcome"], only["status"]) == (1, "refused", 404)
    assert only["correlation_id"] and only["finished_at"] >= only["started_at"]
    digests = [entry["digest"] for entry in shown["history"]]
    assert len(set(digests)) == len(digests)


def test_the_books_are_closed_until_somebody_takes_a_row_out(copied: Place, ids: dict[str, str]) -> None:
    books = copied.balance()
    assert books | {"closed": True, "seen": len(MIXED), "uploaded": 2, "held": 1, "dropped": 0} == books
    assert "The books are closed." in copied.ingestd("balance").stdout
    with sqlite3.connect(copied.directory / "data/ledger.db") as ledger:
        ledger.execute("DELETE FROM receipt_documents WHERE receipt_id = ?", (ids["held"],))
        ledger.execute("DELETE FROM receipts WHERE id = ?", (ids["held"],))
    ledger.close()
    assert "NOT CLOSED" in copied.ingestd("balance", expect=1).stdout
    assert json.loads(copied.ingestd("balance", "--json", expect=1).stdout)["closed"] is False


def test_an_exported_table_opens_and_no_cell_of_it_is_a_formula(
    mixed: Place, rows: list[dict[str, Any]]
) -> None:
    file = mixed.directory / "receipts.csv"
    file.write_text("what an earlier export left, longer than the new one\n" * 1000)
    mixed.ingestd("export", "--format", "csv", "-o", str(file))
    with file.open(newline="", encoding="utf-8") as text:
        table = list(csv.DictReader(text))
    assert [line["id"] for line in table] == [row["id"] for row in rows]
    cells = [cell for line in table for cell in line.values()]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert f"'{FORMULA}" in [line["filename"] for line in table]
    stdout = mixed.ingestd("export").stdout
    assert list(csv.DictReader(io.StringIO(stdout))) == table


def test_exported_json_lines_are_the_rows_of_list(mixed: Place, rows: list[dict[str, Any]]) -> None:
    lines = mixed.ingestd("export", "--format", "jsonl", "--state", "uploaded").stdout.splitlines()
    uploaded = [row for row in rows if row["state"] == "uploaded"]
    assert [json.loads(line) for line in lines] == uploaded


@pytest.mark.parametrize("output", ["absent/x.csv", "."])
def test_an_export_that_can_not_be_written_is_one_clear_line(mixed: Place, output: str) -> None:
    message = refused(mixed, "export", "-o", str(mixed.directory / output))
    assert "--output" in message and len(message.splitlines()) == 1


def test_an_export_that_fails_leaves_the_earlier_one(lonely: Place) -> None:
    file = Path(made(lonely, "receipts.csv", b"id,state\n"))
    assert "no ledger" in refused(lonely, "export", "-o", str(file), expect=1)
    assert file.read_bytes() == b"id,state\n"


# --- deciding ----------------------------------------------------------------------------------------------


def test_a_held_receipt_goes_where_a_person_says(
    copied: Place, shared_sandbox: SandboxProcess, ids: dict[str, str]
) -> None:
    assert "received" in copied.ingestd("retry", ids["held"], "--to", "concur:report/CHOSEN").stdout
    copied.ingestd("run", "--until-idle", expect=0)
    (image,) = (i for i in shared_sandbox.images() if i["place"] == "report/CHOSEN")
    assert image["sha256"] == hashlib.sha256(MIXED["loose.jpg"][0]).hexdigest()
    assert (copied.inbox / "uploaded/loose.jpg").exists()
    assert not list((copied.inbox / "rejected").glob("loose*"))


def test_retry_takes_ids_or_a_whole_state_and_names_what_it_can_not_do(
    copied: Place, ids: dict[str, str]
) -> None:
    assert "failed -> ready" in copied.ingestd("retry", "--state", "failed").stdout
    done = copied.ingestd("retry", ids["uploaded"], ids["rejected"], expect=2)
    assert ids["uploaded"] in done.stderr and len(done.stderr.splitlines()) == 1
    assert "rejected -> received" in done.stdout
    states = {r["id"]: r["state"] for r in copied.receipts()}
    assert (states[ids["failed"]], states[ids["rejected"]]) == ("ready", "received")
    assert "--state uploaded" in refused(copied, "retry", "--state", "uploaded")
    assert "by ID" in refused(copied, "retry")


def test_only_an_unconfirmed_receipt_can_be_confirmed(copied: Place, ids: dict[str, str]) -> None:
    assert "only unconfirmed" in refused(copied, "confirm", ids["failed"], "--image-id", "X1")
    assert "image ID" in refused(copied, "confirm", ids["unconfirmed"], "--image-id", " ")
    done = copied.ingestd("confirm", ids["unconfirmed"], "--image-id", " X1 ")
    assert "uploaded, image ID X1" in done.stdout
    shown = json.loads(copied.ingestd("show", ids["unconfirmed"], "--json").stdout)
    assert (shown["state"], shown["image_id"]) == ("uploaded", "X1")
    assert shown["history"][-1]["actor"] not in ("", "ingestd")


def test_drop_gives_up_what_it_may_and_names_the_rest(copied: Place, ids: dict[str, str]) -> None:
    done = copied.ingestd("drop", *(ids[state] for state in ("uploaded", "held", "unconfirmed")), expect=2)
    assert ids["uploaded"] in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout.count("-> dropped") == 2
    assert "--state" not in refused(copied, "drop")
    books = copied.balance()
    assert books | {"closed": True, "dropped": 2, "uploaded": 2} == books


def test_what_is_decided_beside_a_running_daemon_is_seen_within_seconds(
    copied: Place, shared_sandbox: SandboxProcess, ids: dict[str, str]
) -> None:
    stored = len(shared_sandbox.images())
    with copied.daemon():
        copied.ingestd("retry", ids["held"], "--to", "concur:report/BESIDE")
        quickly(lambda: len(shared_sandbox.images()) == stored + 1, copied)
        quickly(lambda: (copied.inbox / "uploaded/loose.jpg").exists(), copied)

        copied.ingestd("drop", ids["failed"])
        note = copied.inbox / "rejected/nowhere/x.jpg.reason.txt"
        quickly(lambda: "dropped" in note.read_text().lower(), copied)

        copied.ingestd("confirm", ids["unconfirmed"], "--image-id", "X1")
        quickly(lambda: (copied.inbox / "uploaded/reports/accept-then-drop/taxi.jpg").exists(), copied)
    assert copied.balance()["closed"] is True


def quickly(ready: Callable[[], bool], place: Place) -> None:
    """The daemon looks at its ledger every second; ten are for a machine that is busy."""
    wait_until(ready, "the daemon has seen it", place.log, seconds=10)


def test_a_receipt_that_waits_for_its_target_can_be_dropped_meanwhile(lonely: Place) -> None:
    file = made(lonely, "a.jpg", samples.small_jpeg(1))
    with lonely.daemon():
        lonely.ingestd("submit", file, "--to", "concur:receipt")
        wait_until(lambda: "gate.closed" in lonely.log(), "the target is out of reach", lonely.log)
        waiting = lonely.receipts()[0]
        if lonely.ingestd("drop", waiting["id"], expect=None).returncode:
            lonely.ingestd("drop", waiting["id"])  # it was on its way to the next attempt just then
    assert lonely.receipts()[0]["state"] == "dropped"


# --- the ledger as a thing ---------------------------------------------------------------------------------


def test_migrate_creates_the_ledger_and_leaves_one_that_is_up_to_date_alone(lonely: Place) -> None:
    first = lonely.ingestd("migrate").stdout
    assert lonely.ingestd("migrate").stdout == first
    with lonely.daemon() as daemon:
        assert f"(process {daemon.pid})" in refused(lonely, "migrate")


def test_a_backup_is_a_whole_ledger_even_while_the_daemon_runs(
    copied: Place, shared_sandbox: SandboxProcess, ids: dict[str, str]
) -> None:
    target = copied.directory / "backup.db"
    with copied.daemon():
        copied.ingestd("drop", ids["failed"])  # it is in the write-ahead log only
        assert str(target) in copied.ingestd("backup", str(target)).stdout
        assert "never overwrites" in refused(copied, "backup", str(target), expect=1)
    restored = Place(copied.directory / "restored", shared_sandbox.url)
    (restored.directory / "data").mkdir()
    shutil.copy(target, restored.directory / "data/ledger.db")
    assert restored.states() == {path: state for path, (_, state) in MIXED.items()} | {
        "nowhere/x.jpg": "dropped"
    }
    assert restored.balance()["closed"] is True
    assert "can't be written" in refused(copied, "backup", str(copied.directory / "no/x.db"), expect=1)


def test_a_ledger_of_a_newer_program_is_refused_and_not_touched(lonely: Place) -> None:
    lonely.ingestd("migrate")
    database = lonely.directory / "data/ledger.db"
    with sqlite3.connect(database) as ledger:
        ledger.execute("UPDATE alembic_version SET version_num = '9999'")
    ledger.close()
    file = made(lonely, "a.jpg", samples.small_jpeg(1))
    for command in (["run"], ["list"], ["submit", file, "--to", "concur:receipt"]):
        assert "newer ingestd; upgrade" in refused(lonely, *command)
    with sqlite3.connect(database) as ledger:
        assert ledger.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
        assert ledger.execute("SELECT count(*) FROM arrivals").fetchone() == (0,)
    ledger.close()


# --- root --------------------------------------------------------------------------------------------------

NOBODY = 65534


@pytest.fixture
def nobodys() -> Iterator[Place]:
    """A place whose storage belongs to nobody, where nobody can reach it, beside a directory only for root.

    Its ledger is there already: what creates one may be out of reach for nobody, as below /root.
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        place = Place(Path(directory) / "place", "http://127.0.0.1:9")
        place.ingestd("migrate")
        data = place.directory / "data"
        for path in (data, *data.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        (place.directory / "private").mkdir(mode=0o700)
        yield place


def as_root(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Nobody can't write coverage data into this tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    return subprocess.run(
        place.command(*arguments), cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )


def test_what_root_submits_belongs_to_the_owner_of_the_storage(nobodys: Place) -> None:
    content = samples.small_jpeg(1)
    file = made(nobodys, "private/a.jpg", content)
    done = as_root(nobodys, "submit", file, "--to", "concur:receipt")
    assert done.returncode == 0, done.stderr
    below = list((nobodys.directory / "data").rglob("*"))
    assert hashlib.sha256(content).hexdigest() in {path.name for path in below}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in below} == {(NOBODY, NOBODY)}
    assert not any(path.stat().st_mode & 0o077 for path in below if path.is_file())


def test_root_can_export_to_where_only_root_may_write(nobodys: Place) -> None:
    target = nobodys.directory / "private/out.csv"
    done = as_root(nobodys, "export", "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert target.exists()
