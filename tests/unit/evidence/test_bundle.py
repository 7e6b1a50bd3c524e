"""The zip as such: names, order, what is left out, and memory."""

import hashlib
import io
import json
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.document import Instant
from ingestd.domain.states import State
from ingestd.evidence import Case, Piece, write_bundle
from ingestd.evidence import verify as verifier
from ingestd.evidence.bundle import ChangedWhileRead, Kind
from ingestd.evidence.naming import LONGEST_BYTES, safe_name
from ingestd.interfaces import HistoryEntry
from ingestd.ledger.chain import START, digest

HOSTILE = [
    "../../etc/passwd", "/etc/passwd", "C:\\Windows\\x.jpg", "..", ".", "", "CON", "nul.jpg",
    "a<b>c:d|e?.jpg", "trailing. . ", "line\nbreak.jpg", "\u202egpj.exe", "x" * 300 + ".jpeg",
    "ä" * 200 + ".pdf", "\udce4.jpg", "Lunch.JPG", "lunch.jpg",
]  # fmt: skip


def piece(tmp_path: Path, content: bytes, name: str = "a.jpg", kind: Kind = "original") -> Piece:
    sha256 = hashlib.sha256(content).hexdigest()
    path = tmp_path / sha256
    path.write_bytes(content)
    return Piece(kind=kind, filename=name, sha256=sha256, size=len(content), path=path, kept=True)


def case(*pieces: Piece, receipt: str = "r1", rows: int = 3) -> Case:
    entries = chain(receipt, rows)
    names = ("at", "event", "before", "after", "actor", "reason", "digest")
    told = [{name: getattr(entry, name) for name in names} for entry in entries]
    return Case(
        receipt=receipt,
        title="uploaded",
        version=rows,
        head=entries[-1].digest,
        records={"receipt.json": {"id": receipt, "path": "\udce4"}, "history.json": told},
        pieces=pieces,
    )


def chain(receipt: str, rows: int) -> list[HistoryEntry]:
    """As the ledger writes one; with a text that no encoding takes."""
    entries: list[HistoryEntry] = []
    for version in range(1, rows + 1):
        row: dict[str, Any] = {
            "receipt": receipt,
            "version": version,
            "at": Instant(version),
            "event": "ask" if version > 1 else "accept",
            "before": State.READY if version > 1 else None,
            "after": State.READY,
            "actor": "ingestd",
            "reason": "Überall \udce4 “\u2028” \x00" if version == 2 else None,
        }
        previous = entries[-1].digest if entries else START
        entries.append(HistoryEntry(**row, digest=digest(previous, **row)))
    return entries


def written(*cases: Case) -> bytes:
    file = io.BytesIO()
    write_bundle(file, cases, folder="evidence")
    return file.getvalue()


def unpacked(content: bytes, directory: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(directory)
    return directory / "evidence"


@pytest.mark.parametrize("raw", HOSTILE)
def test_no_name_of_a_stranger_leads_out_of_the_bundle_or_is_refused_by_windows(raw: str) -> None:
    name = safe_name(raw, 1)
    assert name.startswith("01-") and len(name) > 3
    assert not set('<>:"/\\|?*\n\0\u202e') & set(name)
    assert name == name.rstrip(". ")
    assert len(name.encode()) <= LONGEST_BYTES + 3


def test_the_extension_survives_shortening() -> None:
    assert safe_name("x" * 300 + ".jpeg", 12).endswith("xx.jpeg")
    assert safe_name("x" * 300 + ".jpeg", 12).startswith("12-x")


def test_names_stay_unique_whatever_the_case_and_keep_their_order(tmp_path: Path) -> None:
    pieces = [piece(tmp_path, bytes([n]), name) for n, name in enumerate(HOSTILE)]
    with zipfile.ZipFile(io.BytesIO(written(case(*pieces)))) as archive:
        names = archive.namelist()
        originals = [name for name in names if "/originals/" in name]
        assert [archive.read(name) for name in originals] == [bytes([n]) for n in range(len(HOSTILE))]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.startswith("evidence/") and ".." not in Path(name).parts for name in names)
    assert originals == sorted(originals)


def test_what_the_ledger_chained_the_program_in_the_bundle_proves(tmp_path: Path) -> None:
    top = unpacked(written(case(piece(tmp_path, b"one")), case(receipt="r2", rows=1)), tmp_path / "out")
    assert verifier.problems(top) == []
    assert (top / "verify.py").read_bytes() == Path(verifier.__file__).read_bytes()


def test_two_bundles_of_the_same_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = case(piece(tmp_path, b"one"))
    first = written(one)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 0, 0, 0, 2, 138, 0))
    assert written(one) == first


def test_an_archive_of_several_receipts_is_there_once(tmp_path: Path) -> None:
    archive = piece(tmp_path, b"zip", "batch.zip", "archive")
    content = written(case(archive), case(archive, receipt="r2"))
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert [name for name in bundle.namelist() if "batch" in name] == ["evidence/archives/01-batch.zip"]


@pytest.mark.parametrize("why", ["purged", "missing", "damaged"])
def test_what_is_not_there_is_named_with_its_hash(tmp_path: Path, why: str) -> None:
    one = piece(tmp_path, b"one")
    match why:
        case "purged":
            one = replace(one, kept=False)
        case "missing":
            one.path.unlink()
        case _:
            one.path.write_bytes(b"two")
    top = unpacked(written(case(one)), tmp_path / "out")
    (absent,) = json.loads((top / "manifest.json").read_text())["absent"]
    name = "receipt-01/originals/01-a.jpg"
    assert absent == {"name": name, "size": 3, "sha256": one.sha256, "why": why, "receipt": "r1"}
    assert f"{name}: {why}; 3 bytes, sha256 {one.sha256}" in (top / "README.txt").read_text()
    assert not (top / name).exists()
    assert verifier.problems(top) == []


def test_bytes_that_change_between_two_readings_are_never_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = piece(tmp_path, b"one")

    def changes_it_afterwards(piece: Piece) -> None:
        piece.path.write_bytes(b"two")

    monkeypatch.setattr("ingestd.evidence.bundle._why_absent", changes_it_afterwards)
    with pytest.raises(ChangedWhileRead):
        written(case(one))


def test_a_large_original_costs_no_memory(tmp_path: Path) -> None:
    size_bytes = 64_000_000
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    large = Piece(kind="original", filename="a", sha256=sha256, size=size_bytes, path=path, kept=True)
    tracemalloc.start()
    try:
        with (tmp_path / "out.zip").open("w+b") as target:
            write_bundle(target, [case(large)], folder="evidence")
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_the_program_in_the_bundle_asks_for_nothing_but_the_standard_library() -> None:
    imported = {
        line.split()[1]
        for line in Path(verifier.__file__).read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names | {"__future__"}


@pytest.mark.parametrize("field", ["at", "event", "before", "after", "actor", "reason", "digest"])
def test_the_program_in_the_bundle_names_a_row_of_which_anything_was_changed(field: str) -> None:
    whole = case()
    rows: Any = whole.records["history.json"]
    receipt = {"id": whole.receipt, "version": whole.version, "head": whole.head}
    assert verifier.chain_problems(receipt, rows) == []
    rows[1][field] = "0" * 64
    (problem,) = verifier.chain_problems(receipt, rows)
    assert problem.startswith("r1: row 2 of its history was changed")
