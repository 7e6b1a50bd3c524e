"""What a person sends, through the real program: photos, scans, archives, passwords, pages and duplicates."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from PIL import Image

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import Place, SandboxProcess, files_below


def run(place: Place, expect: int = 0) -> None:
    place.ingestd("run", "--until-idle", "--wait", "30s", expect=expect)


def receipt_at(place: Place, path: str) -> dict[str, Any]:
    (found,) = [receipt for receipt in place.receipts() if receipt["path"] == path]
    shown: dict[str, Any] = json.loads(place.ingestd("show", found["id"], "--json").stdout)
    return shown


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def photo_with_location() -> bytes:
    picture = Image.open(io.BytesIO(samples.jpeg(5)))
    exif = picture.getexif()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 14.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=90)
    return buffer.getvalue()


pytestmark = pytest.mark.timeout(300)  # the first test of a process waits for all that is sent

PASSWORD = "geheim-42"


@cache
def members() -> dict[str, bytes]:
    return {
        "taxi.jpg": samples.jpeg(3),
        "trip/hotel.pdf": samples.pdf(4),
        "notes.txt": samples.text(),
        "empty.pdf": b"",
    }


@cache
def files() -> dict[str, bytes]:
    return {
        "lunch.heic": samples.heic(1, lying=True),
        "fax.tif": samples.tiff(2, pages=3),
        "scan.png": samples.grainy_scan(),
        "batch.zip": archive(**members()),
        "bank.pdf": samples.encrypted_pdf(password=PASSWORD),
        "other.pdf": samples.encrypted_pdf(password="nobody-knows"),
        "photo.jpg": photo_with_location(),
    }


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "sandbox.log")
    yield process
    process.end()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, target: SandboxProcess) -> Place:
    """Where the program has run over everything at once; for looking only."""
    place = Place(
        tmp_path_factory.mktemp("sent") / "place", target.url, preparation='passwords_file = "passwords"'
    )
    (place.directory / "passwords").write_text(f"first-secret-word\n{PASSWORD}\n")
    for path, content in files().items():
        place.drop(path, content)
    done = place.ingestd("run", "--until-idle", "--wait", "30s", expect=3, timeout=280)
    (place.directory / "told").write_text(done.stdout + done.stderr)
    return place


def test_a_photo_a_fax_and_a_large_scan_become_what_concur_takes(sent: Place, target: SandboxProcess) -> None:
    types = {image["content_type"] for image in target.images()}
    assert types <= {"image/jpeg", "application/pdf", "image/png"}
    assert all(image["size"] <= 10_000_000 for image in target.images())
    held = {image["sha256"] for image in target.images()}
    for path, words in (("lunch.heic", "Turned upright"), ("fax.tif", "All 3 pages"), ("scan.png", "to fit")):
        receipt = receipt_at(sent, path)
        assert receipt["image"]["sha256"] in held
        assert words in " ".join(receipt["steps"])
    # The original itself is kept for the person who dropped it.
    assert (sent.inbox / "uploaded" / "fax.tif").read_bytes() == files()["fax.tif"]


def test_every_member_of_an_archive_is_a_receipt_and_ends_where_a_person_sees_it(
    sent: Place, target: SandboxProcess
) -> None:
    stored = {image["sha256"] for image in target.images()}
    assert {hashlib.sha256(members()[name]).hexdigest() for name in ("taxi.jpg", "trip/hotel.pdf")} <= stored
    assert files_below(sent.inbox / "uploaded/batch.zip") == {"taxi.jpg", "trip/hotel.pdf"}
    assert files_below(sent.inbox / "rejected/batch.zip") == {
        "notes.txt",
        "notes.txt.reason.txt",
        "empty.pdf",
        "empty.pdf.reason.txt",
    }


def test_known_passwords_open_a_pdf_and_no_log_or_ledger_tells_them(sent: Place) -> None:
    states = sent.states()
    assert (states["bank.pdf"], states["other.pdf"]) == ("uploaded", "rejected")
    assert "none of the 2 known passwords" in receipt_at(sent, "other.pdf")["reason"]
    told = (sent.directory / "told").read_text()
    assert "bank.pdf" in told
    told += json.dumps(sent.receipts()) + sent.ingestd("export").stdout
    for file in (sent.directory / "data").rglob("*"):
        told += file.read_bytes().decode("latin-1") if file.is_file() else ""
    assert PASSWORD not in told
    assert "first-secret-word" not in told


def test_a_photo_loses_its_place_on_earth_and_nothing_else(sent: Place) -> None:
    receipt = receipt_at(sent, "photo.jpg")
    assert "Location" in " ".join(receipt["steps"])
    stored = next((sent.directory / "data").rglob(receipt["image"]["sha256"]))
    with Image.open(stored) as stripped, Image.open(io.BytesIO(files()["photo.jpg"])) as original:
        assert original.getexif().get_ifd(0x8825)
        assert not stripped.getexif().get_ifd(0x8825)
        assert stripped.tobytes() == original.tobytes()
    with Image.open(receipt["thumbnail"]) as small:
        assert max(small.size) <= 400


def test_the_books_of_all_of_them_are_closed(sent: Place, target: SandboxProcess) -> None:
    books = sent.balance()
    assert books["closed"] is True
    # Every member of the archive is a document; the archive itself is none.
    assert books["seen"] == len(files()) - 1 + len(members())
    assert books["uploaded"] == len(target.images())


def test_the_files_of_one_entry_become_one_pdf_and_what_comes_later_meets_it(
    place: Place, sandbox: SandboxProcess
) -> None:
    """A later page is held. Another picture of an uploaded receipt is uploaded with a warning, by default."""
    for number in (10, 2, 1):
        place.drop(f"entries/E1/page{number}.jpg", samples.jpeg(number))
    place.drop("first.jpg", samples.jpeg(20))
    run(place)
    (image,) = [image for image in sandbox.images() if image["place"] == "expenseentry/E1"]
    assert image["content_type"] == "application/pdf"
    receipt = receipt_at(place, "entries/E1/page1.jpg")
    assert [file["path"] for file in receipt["files"]] == [
        f"entries/E1/page{number}.jpg" for number in (1, 2, 10)
    ]
    assert files_below(place.inbox / "uploaded/entries") == {f"E1/page{n}.jpg" for n in (1, 2, 10)}

    place.drop("entries/E1/page11.jpg", samples.jpeg(11))
    place.drop("second.png", samples.png(20))  # the same receipt, scanned without noise
    run(place, expect=3)
    late = receipt_at(place, "entries/E1/page11.jpg")
    assert late["state"] == "held"
    assert receipt["id"] in late["reason"]
    assert (place.inbox / "rejected/entries/E1/page11.jpg.reason.txt").exists()
    assert [image["place"] for image in sandbox.images()].count("expenseentry/E1") == 1
    second = receipt_at(place, "second.png")
    assert second["state"] == "uploaded"
    assert receipt_at(place, "first.jpg")["id"] in " ".join(second["warnings"])
    assert len(sandbox.images()) == 3
    assert place.balance()["closed"] is True


def test_another_picture_of_an_uploaded_receipt_is_held_until_a_person_decides(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(preparation='near_duplicates = "hold"')
    place.drop("first.jpg", samples.jpeg(1))
    run(place)
    place.drop("second.png", samples.png(1))  # the same receipt, scanned without noise
    place.drop("other.jpg", samples.jpeg(2))
    run(place, expect=3)
    assert place.states() == {"first.jpg": "uploaded", "second.png": "held", "other.jpg": "uploaded"}
    held = receipt_at(place, "second.png")
    assert receipt_at(place, "first.jpg")["id"] in held["reason"]
    place.ingestd("retry", held["id"])
    run(place)
    released = receipt_at(place, "second.png")
    assert released["state"] == "uploaded"
    assert receipt_at(place, "first.jpg")["id"] in " ".join(released["warnings"])
