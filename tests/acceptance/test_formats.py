"""What a person sends, through the real program: photos, scans, archives, passwords, pages and duplicates."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

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


def test_a_photo_a_fax_and_a_large_scan_become_what_concur_takes(
    place: Place, sandbox: SandboxProcess
) -> None:
    place.drop("lunch.heic", samples.heic(1, lying=True))
    place.drop("fax.tif", samples.tiff(2, pages=3))
    place.drop("scan.png", samples.grainy_scan())
    run(place)
    types = {image["content_type"] for image in sandbox.images()}
    assert types <= {"image/jpeg", "application/pdf", "image/png"}
    assert all(image["size"] <= 10_000_000 for image in sandbox.images())
    held = {image["sha256"] for image in sandbox.images()}
    for path, words in (("lunch.heic", "Turned upright"), ("fax.tif", "All 3 pages"), ("scan.png", "to fit")):
        receipt = receipt_at(place, path)
        assert receipt["image"]["sha256"] in held
        assert words in " ".join(receipt["steps"])
    # The original itself is kept for the person who dropped it.
    assert (place.inbox / "uploaded" / "fax.tif").read_bytes() == samples.tiff(2, pages=3)


def test_the_files_of_one_entry_become_one_pdf_and_a_later_page_is_held(
    place: Place, sandbox: SandboxProcess
) -> None:
    for number in (10, 2, 1):
        place.drop(f"entries/E1/page{number}.jpg", samples.jpeg(number))
    run(place)
    (image,) = sandbox.images()
    assert (image["place"], image["content_type"]) == ("expenseentry/E1", "application/pdf")
    receipt = receipt_at(place, "entries/E1/page1.jpg")
    assert [file["path"] for file in receipt["files"]] == [
        f"entries/E1/page{number}.jpg" for number in (1, 2, 10)
    ]
    assert files_below(place.inbox / "uploaded") == {f"entries/E1/page{n}.jpg" for n in (1, 2, 10)}

    place.drop("entries/E1/page11.jpg", samples.jpeg(11))
    run(place, expect=3)
    late = receipt_at(place, "entries/E1/page11.jpg")
    assert late["state"] == "held"
    assert receipt["id"] in late["reason"]
    assert (place.inbox / "rejected/entries/E1/page11.jpg.reason.txt").exists()
    assert len(sandbox.images()) == 1
    assert place.balance()["closed"] is True


def test_every_member_of_an_archive_is_a_receipt_and_ends_where_a_person_sees_it(
    place: Place, sandbox: SandboxProcess
) -> None:
    members = {"taxi.jpg": samples.jpeg(1), "trip/hotel.pdf": samples.pdf(2), "notes.txt": samples.text()}
    place.drop("batch.zip", archive(**members, **{"empty.pdf": b""}))
    run(place, expect=3)
    assert len(sandbox.images()) == 2
    assert files_below(place.inbox / "uploaded") == {"batch.zip/taxi.jpg", "batch.zip/trip/hotel.pdf"}
    assert files_below(place.inbox / "rejected") == {
        "batch.zip/notes.txt",
        "batch.zip/notes.txt.reason.txt",
        "batch.zip/empty.pdf",
        "batch.zip/empty.pdf.reason.txt",
    }
    books = place.balance()
    assert (books["closed"], books["seen"]) == (True, 4)


def test_known_passwords_open_a_pdf_and_no_log_or_ledger_tells_them(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(preparation='passwords_file = "passwords"')
    (place.directory / "passwords").write_text("first-secret-word\ngeheim-42\n")
    place.drop("bank.pdf", samples.encrypted_pdf(password="geheim-42"))
    place.drop("other.pdf", samples.encrypted_pdf(password="nobody-knows"))
    done = place.ingestd("run", "--until-idle", expect=3)
    assert place.states() == {"bank.pdf": "uploaded", "other.pdf": "rejected"}
    assert "none of the 2 known passwords" in receipt_at(place, "other.pdf")["reason"]
    told = done.stdout + done.stderr + json.dumps(place.receipts()) + place.ingestd("export").stdout
    for file in (place.directory / "data").rglob("*"):
        told += file.read_bytes().decode("latin-1") if file.is_file() else ""
    assert "geheim-42" not in told
    assert "first-secret-word" not in told


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


def test_a_near_duplicate_is_uploaded_with_a_warning_by_default(
    place: Place, sandbox: SandboxProcess
) -> None:
    place.drop("first.jpg", samples.jpeg(1))
    run(place)
    place.drop("second.png", samples.png(1))
    run(place)
    assert set(place.states().values()) == {"uploaded"}
    assert receipt_at(place, "first.jpg")["id"] in " ".join(receipt_at(place, "second.png")["warnings"])


def test_a_photo_loses_its_place_on_earth_and_nothing_else(place: Place, sandbox: SandboxProcess) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(samples.jpeg(1)))
    exif = picture.getexif()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 14.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=90)
    place.drop("photo.jpg", buffer.getvalue())
    run(place)
    receipt = receipt_at(place, "photo.jpg")
    assert "Location" in " ".join(receipt["steps"])
    sent = next((place.directory / "data").rglob(receipt["image"]["sha256"]))
    with Image.open(sent) as stripped, Image.open(io.BytesIO(buffer.getvalue())) as original:
        assert not stripped.getexif().get_ifd(0x8825)
        assert stripped.tobytes() == original.tobytes()
    thumbnail = Path(receipt["thumbnail"])
    with Image.open(thumbnail) as small:
        assert max(small.size) <= 400
