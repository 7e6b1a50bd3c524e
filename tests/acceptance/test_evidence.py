"""What an auditor gets: a bundle that proves itself, and an audit that names what was tampered with.

The ledger and the spool are changed from outside, as somebody who wants to hide something would.
"""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ingestd import samples
from tests.acceptance.place import Place, SandboxProcess, files_below, wait_until

LUNCH, HOTEL = samples.small_jpeg(1), samples.small_jpeg(2)


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "sandbox.log")
    yield process
    process.end()


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory, shared_sandbox: SandboxProcess) -> Place:
    """One uploaded, one merged of two, one out of an archive, one that failed, one that is in doubt."""
    place = Place(tmp_path_factory.mktemp("stocked") / "place", shared_sandbox.url)
    place.drop("lunch.jpg", LUNCH)
    place.drop("entries/E-1/a.jpg", HOTEL)
    place.drop("entries/E-1/b.jpg", samples.small_jpeg(3))
    archive = place.directory / "batch.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("taxi.jpg", samples.small_jpeg(4))
    place.drop("reports/R-1/batch.zip", archive.read_bytes())
    place.drop("nowhere/failed.jpg", samples.small_jpeg(5))
    place.drop("reports/accept-then-drop/lost.jpg", samples.small_jpeg(6))
    place.ingestd("run", "--until-idle", expect=3)
    return place


@pytest.fixture
def copied(stocked: Place, shared_sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Place]:
    """A copy, free to be tampered with."""
    place = Place(tmp_path / "copy", shared_sandbox.url)
    shutil.copytree(stocked.directory / "data", place.directory / "data")
    yield place
    place.end()


def found(place: Place, path: str) -> dict[str, Any]:
    (receipt,) = (receipt for receipt in place.receipts() if receipt["path"].startswith(path))
    return receipt


def exported(place: Place, *ids: str, name: str = "out.zip") -> Path:
    target = place.directory / name
    place.ingestd(
        "export", *(part for one in ids for part in ("--evidence", one)), "-o", str(target), "--force"
    )
    return target


def unpacked(archive: Path, directory: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        file.extractall(directory)
    (top,) = directory.iterdir()
    return top


def verified(top: Path) -> subprocess.CompletedProcess[str]:
    """As somebody without ingestd does it: not even its package can be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(top / "verify.py")],
        cwd="/", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def audited(place: Place, *options: str, expect: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(place.ingestd("audit", "--json", *options, expect=expect).stdout)
    return told


def tamper(place: Place, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(place.directory / "data/ledger.db")) as ledger, ledger:
        assert ledger.execute(statement, values).rowcount == 1


def blob(place: Place, sha256: str) -> Path:
    return place.directory / "data/spool" / sha256[:2] / sha256


# --- the bundle --------------------------------------------------------------------------------------------


def test_the_evidence_of_an_uploaded_receipt_proves_itself_without_ingestd(
    stocked: Place, shared_sandbox: SandboxProcess, tmp_path: Path
) -> None:
    receipt = found(stocked, "lunch.jpg")
    top = unpacked(exported(stocked, receipt["id"][:-4]), tmp_path / "out")
    done = verified(top)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert files_below(top) == {
        "README.txt", "manifest.json", "verify.py", "receipt-01/receipt.json", "receipt-01/history.json",
        "receipt-01/attempts.json", "receipt-01/originals/01-lunch.jpg", "receipt-01/sent/01-image.jpg",
    }  # fmt: skip
    assert (top / "receipt-01/originals/01-lunch.jpg").read_bytes() == LUNCH
    sent = hashlib.sha256((top / "receipt-01/sent/01-image.jpg").read_bytes()).hexdigest()
    assert sent in {image["sha256"] for image in shared_sandbox.images()}
    told = json.loads((top / "receipt-01/receipt.json").read_text())
    assert {key: told[key] for key in receipt} == receipt
    assert told["image"]["sha256"] == sent
    shown = json.loads(stocked.ingestd("show", receipt["id"], "--json").stdout)
    assert json.loads((top / "receipt-01/attempts.json").read_text()) == shown["tries"]
    history = json.loads((top / "receipt-01/history.json").read_text())
    assert [row["digest"] for row in history] == [row["digest"] for row in shown["history"]]
    assert receipt["id"] in (top / "README.txt").read_text()


def test_a_bundle_of_several_has_every_original_and_what_they_came_in(stocked: Place, tmp_path: Path) -> None:
    ids = [found(stocked, path)["id"] for path in ("entries/E-1", "reports/R-1", "nowhere", "reports/accept")]
    archive = exported(stocked, *ids)
    top = unpacked(archive, tmp_path / "out")
    assert verified(top).returncode == 0
    names = files_below(top)
    assert {
        "receipt-01/originals/01-a.jpg",
        "receipt-01/originals/02-b.jpg",
        "archives/01-batch.zip",
    } <= names
    assert "receipt-02/originals/01-taxi.jpg" in names
    (failed,) = json.loads((top / "receipt-03/attempts.json").read_text())
    assert (failed["status"], failed["outcome"]) == (404, "refused")
    assert failed["correlation_id"] and failed["milliseconds"] >= 0
    with zipfile.ZipFile(archive) as file:
        assert len({name.lower() for name in file.namelist()}) == len(file.namelist())


def test_the_same_receipt_gives_the_same_bytes(stocked: Place) -> None:
    receipt = found(stocked, "entries/E-1")["id"]
    first, second = (exported(stocked, receipt, name=f"{n}.zip") for n in range(2))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "receipt-01/originals/01-lunch.jpg",
        "receipt-01/receipt.json",
        "README.txt",
        "receipt-01/attempts.json",
    ],
)
def test_one_changed_byte_of_a_bundle_is_named(stocked: Place, tmp_path: Path, name: str) -> None:
    top = unpacked(exported(stocked, found(stocked, "lunch.jpg")["id"]), tmp_path / "out")
    content = bytearray((top / name).read_bytes())
    content[len(content) // 2] ^= 1
    (top / name).write_bytes(content)
    done = verified(top)
    assert (done.returncode, done.stdout) == (1, f"{name}: is missing or was changed\n")


@pytest.mark.parametrize("change", ["reason", "at", "after", "gone", "last gone", "swapped"])
def test_a_history_changed_together_with_the_manifest_is_named_all_the_same(
    stocked: Place, tmp_path: Path, change: str
) -> None:
    receipt = found(stocked, "nowhere")["id"]
    top = unpacked(exported(stocked, receipt), tmp_path / "out")
    file = top / "receipt-01/history.json"
    rows = json.loads(file.read_text())
    match change:
        case "gone":
            del rows[1]
        case "last gone":
            del rows[-1]
        case "swapped":
            rows[1], rows[2] = rows[2], rows[1]
        case "at":
            rows[1]["at"] += 1
        case field:
            rows[1][field] = "uploaded"
    file.write_text(json.dumps(rows))
    manifest = json.loads((top / "manifest.json").read_text())
    for member in manifest["members"]:
        if member["name"] == "receipt-01/history.json":
            member |= {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (top / "manifest.json").write_text(json.dumps(manifest))
    done = verified(top)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{receipt}: ")


def test_a_file_added_to_a_bundle_is_named(stocked: Place, tmp_path: Path) -> None:
    top = unpacked(exported(stocked, found(stocked, "lunch.jpg")["id"]), tmp_path / "out")
    (top / "receipt-01/originals/02-other.jpg").write_bytes(HOTEL)
    done = verified(top)
    assert (done.returncode, done.stdout) == (
        1,
        "receipt-01/originals/02-other.jpg: is not in the manifest\n",
    )


def test_an_earlier_bundle_is_replaced_only_by_force(stocked: Place) -> None:
    receipt = found(stocked, "lunch.jpg")["id"]
    target = stocked.directory / "precious.zip"
    target.write_bytes(b"precious")
    refused = stocked.ingestd("export", "--evidence", receipt, "-o", str(target), expect=2)
    assert "--force" in refused.stderr and target.read_bytes() == b"precious"
    stocked.ingestd("export", "--evidence", receipt, "-o", str(target), "--force")
    assert zipfile.is_zipfile(target)
    assert not list(stocked.directory.glob(".ingestd-*"))


def test_an_original_that_was_purged_is_named_with_its_hash(copied: Place, tmp_path: Path) -> None:
    receipt = found(copied, "entries/E-1")
    blob(copied, receipt["sha256"]).unlink()
    tamper(copied, "UPDATE documents SET purged_at = 1 WHERE sha256 = ?", receipt["sha256"])
    top = unpacked(exported(copied, receipt["id"]), tmp_path / "out")
    assert verified(top).returncode == 0
    (absent,) = json.loads((top / "manifest.json").read_text())["absent"]
    assert (absent["why"], absent["sha256"]) == ("purged", receipt["sha256"])
    assert (
        f"01-a.jpg: purged; {len(HOTEL):,} bytes, sha256 {receipt['sha256']}"
        in (top / "README.txt").read_text()
    )
    assert audited(copied, expect=0)["proved"] is True


def test_an_original_that_is_damaged_makes_the_bundle_incomplete_and_says_so(
    copied: Place, tmp_path: Path
) -> None:
    receipt = found(copied, "lunch.jpg")
    damage(blob(copied, receipt["sha256"]))
    target = copied.directory / "out.zip"
    done = copied.ingestd("export", "--evidence", receipt["id"], "-o", str(target), expect=1)
    assert "damaged: receipt-01/originals/01-lunch.jpg" in done.stderr
    top = unpacked(target, tmp_path / "out")
    assert not (top / "receipt-01/originals").exists()
    assert {one["why"] for one in json.loads((top / "manifest.json").read_text())["absent"]} == {"damaged"}


def test_evidence_of_nothing_is_one_clear_line(stocked: Place) -> None:
    done = stocked.ingestd("export", "--evidence", "00000000", expect=2)
    assert "no single receipt" in done.stderr and len(done.stderr.splitlines()) == 1
    mixed_up = stocked.ingestd("export", "--evidence", "00000000", "--format", "csv", expect=2)
    assert "--evidence goes with" in mixed_up.stderr


# --- the audit ---------------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_audit_of_what_nobody_touched_proves_all_of_it(stocked: Place) -> None:
    told = audited(stocked, expect=0)
    assert told["proved"] is True and told["wrong"] == [] and told["unknown_blobs"] == 0
    blobs = {path for path in (stocked.directory / "data/spool").glob("??/*") if not path.suffix}
    assert told["blobs"] == len(blobs) and told["bytes"] == sum(path.stat().st_size for path in blobs)
    assert told["receipts"] == len(stocked.receipts()) and told["rows"] > 4 * told["receipts"]
    assert stocked.ingestd("audit").stdout.splitlines()[-1] == "All is proved."


def test_one_changed_byte_in_the_spool_is_found_and_its_receipt_named(copied: Place) -> None:
    receipt = found(copied, "lunch.jpg")
    path = blob(copied, receipt["sha256"])
    damage(path)
    (wrong,) = audited(copied, expect=1)["wrong"]
    assert (wrong["sha256"], wrong["receipts"]) == (receipt["sha256"], [receipt["id"]])
    assert "its bytes were changed" in wrong["what"] and str(path) in wrong["fix"]
    text = copied.ingestd("audit", expect=1).stdout
    assert f"WRONG        receipt {receipt['id']}: its original {receipt['sha256']} is damaged" in text
    assert audited(copied, "--quick", expect=0)["quick"] is True, "nothing is read"


def test_whatever_is_missing_or_cut_short_is_named_even_by_a_quick_audit(copied: Place) -> None:
    taxi = found(copied, "reports/R-1")
    merged = json.loads(copied.ingestd("show", found(copied, "entries/E-1")["id"], "--json").stdout)
    second = merged["files"][1]["sha256"]
    blob(copied, second).unlink()
    blob(copied, merged["image"]["sha256"]).write_bytes(b"short")
    archive = next(p for p in (copied.directory / "data/spool").glob("??/*") if p.read_bytes()[:2] == b"PK")
    archive.unlink()
    wrong = {one["sha256"]: one for one in audited(copied, "--quick", expect=1)["wrong"]}
    assert wrong.keys() == {second, merged["image"]["sha256"], archive.name}
    assert wrong[second]["what"] == f"its original {second} is missing in the spool"
    assert "instead of" in wrong[merged["image"]["sha256"]]["what"]
    assert wrong[second]["receipts"] == wrong[merged["image"]["sha256"]]["receipts"] == [merged["id"]]
    assert wrong[archive.name]["what"].startswith("its archive")
    assert wrong[archive.name]["receipts"] == [taxi["id"]]


def test_a_blob_that_nobody_knows_is_counted_and_nothing_else(copied: Place) -> None:
    for content in (b"one", b"two"):
        path = blob(copied, hashlib.sha256(content).hexdigest())
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    told = audited(copied, expect=0)
    assert (told["unknown_blobs"], told["proved"]) == (2, True)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE history SET reason = 'paid' WHERE receipt_id = ? AND version = 2", "row 2 of its history"),
        ("UPDATE history SET at = at + 1 WHERE receipt_id = ? AND version = 1", "row 1 of its history"),
        ("DELETE FROM history WHERE receipt_id = ? AND version = 3", "row 3 of its history is missing"),
        ("DELETE FROM history WHERE receipt_id = ? AND version = 5", "the last 1 row(s)"),
        ("UPDATE receipts SET head = 'x' WHERE id = ?", "does not name the last one"),
        ("UPDATE receipts SET version = 4 WHERE id = ?", "does not name the last one"),
        ("UPDATE receipts SET state = 'uploaded' WHERE id = ?", "the ledger says uploaded"),
    ],
)
def test_a_history_that_somebody_changed_is_named(copied: Place, statement: str, told: str) -> None:
    receipt = found(copied, "nowhere")["id"]
    tamper(copied, statement, receipt)
    (wrong,) = audited(copied, "--quick", expect=1)["wrong"]
    assert wrong["receipts"] == [receipt]
    assert told in wrong["what"].replace("doesn't", "does not")
    assert "backup" in wrong["fix"]


def test_a_receipt_without_any_history_is_named(copied: Place) -> None:
    receipt = found(copied, "nowhere")["id"]
    with closing(sqlite3.connect(copied.directory / "data/ledger.db")) as ledger, ledger:
        ledger.execute("DELETE FROM history WHERE receipt_id = ?", (receipt,))
    told = audited(copied, "--quick", expect=1)
    (wrong,) = told["wrong"]
    assert (wrong["receipts"], wrong["what"]) == ([receipt], "it has no history")
    assert told["balance"]["closed"] is False


def test_a_state_that_there_is_none_of_ends_the_proof_and_is_told(copied: Place) -> None:
    tamper(copied, "UPDATE receipts SET state = 'paid' WHERE id = ?", found(copied, "nowhere")["id"])
    (wrong,) = audited(copied, "--quick", expect=1)["wrong"]
    assert "'paid'" in wrong["what"] and "not proved" in wrong["what"]


def test_an_audit_beside_a_daemon_that_works_finds_nothing_wrong(
    place: Place, sandbox: SandboxProcess
) -> None:
    sandbox.faults(latency_seconds=0.3)
    with place.daemon():
        for number in range(120):
            place.drop(f"r{number}.jpg", samples.small_jpeg(number))
        wait_until(lambda: len(sandbox.images()) > 5, "uploads have begun", place.log)
        busy = 0
        while len(sandbox.images()) < 120:
            told = audited(place, expect=0)
            assert told["proved"] is True
            busy += 0 < told["balance"]["uploaded"] < 120
            assert exported(place, place.receipts()[-1]["id"]).exists()
        assert busy, "at least one audit was made while it uploaded"
    assert audited(place, expect=0)["receipts"] == 120
