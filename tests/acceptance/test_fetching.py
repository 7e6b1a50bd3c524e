"""`ingestd url` and `ingestd fetch` against the sandbox: what the target holds, or clear words."""

import hashlib
import json
import os
import re
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.place import Place, SandboxProcess, files_below

LUNCH, HOTEL, TAXI, ODD = (samples.jpeg(seed, width=500) for seed in (1, 2, 3, 4))
STAY = samples.pdf(5)


@pytest.fixture(scope="module")
def own_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "sandbox.log")
    yield process
    process.end()


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory, own_sandbox: SandboxProcess) -> Place:
    """One receipt in each slot, and one for each way in which nothing can be shown."""
    place = Place(tmp_path_factory.mktemp("stocked") / "place", own_sandbox.url)
    place.drop("lunch.jpg", LUNCH)
    place.drop("entries/E$1/hotel.jpg", HOTEL)
    place.drop("reports/R-1/taxi.jpg", TAXI)
    place.drop("invoices/I-1/stay.pdf", STAY)
    place.drop("entries/no-url/a.jpg", samples.small_jpeg(1))
    place.drop("entries/expired-url/b.jpg", samples.small_jpeg(2))
    place.drop("nowhere/failed.jpg", samples.small_jpeg(3))
    place.drop("notes.pdf", samples.text())
    place.drop("reports/accept-then-drop/lost.jpg", ODD)
    place.ingestd("run", "--until-idle", expect=3)
    return place


@pytest.fixture(scope="module")
def ids(stocked: Place) -> dict[str, str]:
    return {receipt["filename"]: receipt["id"] for receipt in stocked.receipts()}


def sent(sandbox: SandboxProcess, place: str) -> bytes:
    (image,) = (image for image in sandbox.images() if image["place"] == place)
    return sandbox.content(image)


def refused(place: Place, *arguments: str, expect: int) -> str:
    done = place.ingestd(*arguments, expect=expect)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return [line for line in done.stderr.splitlines() if line.startswith("ingestd: ")][-1]


# --- url ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lunch.jpg", "hotel.jpg", "taxi.jpg", "stay.pdf"])
def test_url_prints_a_url_that_shows_the_image_and_nothing_else(
    stocked: Place, ids: dict[str, str], own_sandbox: SandboxProcess, name: str
) -> None:
    done = stocked.ingestd("url", ids[name])
    (line,) = done.stdout.splitlines()
    with urllib.request.urlopen(line, timeout=30) as answer:
        shown = hashlib.sha256(answer.read()).hexdigest()
    assert shown in {hashlib.sha256(own_sandbox.content(i)).hexdigest() for i in own_sandbox.images()}
    assert "15 minutes" in done.stderr
    assert "good-token" not in done.stdout + done.stderr


def test_url_as_json_names_what_it_shows(stocked: Place, ids: dict[str, str]) -> None:
    told = json.loads(stocked.ingestd("url", ids["hotel.jpg"][:-3], "--json").stdout)
    assert told["url"].startswith("http://127.0.0.1:")
    assert (told["target"], told["slot"]) == ("concur", "expenseentry/E$1")
    assert "15 minutes" in told["note"]


def test_url_of_a_slot_needs_no_receipt(stocked: Place) -> None:
    assert stocked.ingestd("url", "concur:expenseentry/E$1").stdout.startswith("http://127.0.0.1:")
    (lunch,) = (r for r in stocked.receipts() if r["filename"] == "lunch.jpg")
    shown = stocked.ingestd("url", "concur:receipt", "--image-id", lunch["image_id"])
    assert shown.stdout.startswith("http://127.0.0.1:")


def test_url_of_an_unconfirmed_receipt_shows_what_its_slot_holds(stocked: Place, ids: dict[str, str]) -> None:
    done = stocked.ingestd("url", ids["lost.jpg"])
    assert done.stdout.startswith("http://127.0.0.1:")
    assert "is unconfirmed; this is what its slot holds now" in done.stderr


# --- fetch -------------------------------------------------------------------------------------------------


def test_fetch_writes_the_bytes_that_were_sent_to_a_new_file(
    stocked: Place, ids: dict[str, str], own_sandbox: SandboxProcess, tmp_path: Path
) -> None:
    done = stocked.ingestd("fetch", ids["hotel.jpg"], "-o", str(tmp_path / "x.jpg"))
    assert (tmp_path / "x.jpg").read_bytes() == sent(own_sandbox, "expenseentry/E$1")
    assert done.stdout == ""
    assert re.search(r"[\d,]+ bytes of image/jpeg written to .*x\.jpg", done.stderr)
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "x.jpg").stat().st_mode) == 0o666 & ~mask
    assert files_below(tmp_path) == {"x.jpg"}


def test_fetch_to_standard_output_is_the_bytes_alone(stocked: Place, ids: dict[str, str]) -> None:
    done = subprocess.run(
        stocked.command("fetch", ids["stay.pdf"], "-o", "-"), capture_output=True, timeout=100, check=True
    )
    assert done.stdout.startswith(b"%PDF-")
    assert done.stdout.rstrip().endswith(b"%%EOF")


def test_fetch_into_a_directory_names_the_file_by_its_type(
    stocked: Place, ids: dict[str, str], tmp_path: Path
) -> None:
    stocked.ingestd("fetch", ids["stay.pdf"], "-o", str(tmp_path))
    stocked.ingestd("fetch", "concur:expenseentry/E$1", "-o", str(tmp_path))
    stocked.ingestd("fetch", ids["lunch.jpg"], "-o", str(tmp_path))
    assert files_below(tmp_path) == {"expenseentry-E$1.jpg", "lunch.jpg", "stay.pdf"}


def test_fetch_never_overwrites_without_force(stocked: Place, ids: dict[str, str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(b"mine")
    assert "--force" in refused(stocked, "fetch", ids["lunch.jpg"], "-o", str(mine), expect=2)
    (tmp_path / "lunch.jpg").write_bytes(b"mine")
    assert "--force" in refused(stocked, "fetch", ids["lunch.jpg"], "-o", str(tmp_path), expect=2)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"mine"}
    stocked.ingestd("fetch", ids["lunch.jpg"], "-o", str(mine), "--force")
    assert mine.read_bytes().startswith(b"\xff\xd8")


def test_a_download_that_fails_leaves_no_file(stocked: Place, ids: dict[str, str], tmp_path: Path) -> None:
    line = refused(stocked, "fetch", ids["b.jpg"], "-o", str(tmp_path / "b.jpg"), expect=1)
    assert "not good any more" in line
    assert files_below(tmp_path) == set()


# --- mistakes ----------------------------------------------------------------------------------------------


def test_an_image_without_a_url_says_so(stocked: Place, ids: dict[str, str]) -> None:
    assert "names no URL" in refused(stocked, "url", ids["a.jpg"], expect=1)


def test_a_receipt_that_was_not_uploaded_says_where_it_is(stocked: Place, ids: dict[str, str]) -> None:
    line = refused(stocked, "url", ids["notes.pdf"], expect=1)
    assert "rejected, not uploaded" in line
    assert f"ingestd show {ids['notes.pdf']}" in line
    assert "has no image" in refused(stocked, "fetch", ids["failed.jpg"], "-o", "-", expect=1)


@pytest.mark.parametrize(
    ("arguments", "words", "expect"),
    [
        (("url", "019a0000-0000"), "no single receipt", 2),
        (("url", "nobody:receipt"), "nobody", 2),
        (("url", "concur:nonsense/1"), "no slot", 2),
        (("url", "concur:receipt"), "--image-id", 2),
        (("url", "concur:receipt", "--image-id", "never-seen"), "has no image", 1),
        (("url", "concur:expenseentry/empty"), "has no image", 1),
        (("url", "concur:expenseentry/E$1", "--as", "stranger"), "stranger", 2),
        (("url", "019a0000", "--image-id", "x"), "go with TARGET:SLOT", 2),
        (("fetch", "concur:expenseentry/E$1", "-o", "/nowhere/at/all/x.jpg"), "no directory", 2),
        (("fetch", "concur:expenseentry/E$1", "-o", "/dev/null"), "no ordinary file", 2),
    ],
)
def test_each_mistake_has_its_words(
    stocked: Place, arguments: tuple[str, ...], words: str, expect: int
) -> None:
    assert words in refused(stocked, *arguments, expect=expect)


def test_a_purged_image_and_a_dead_target_say_so(
    place: Place, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    place.drop("entries/E-9/x.jpg", samples.small_jpeg(9))
    place.ingestd("run", "--until-idle")
    (receipt,) = place.receipts()
    sandbox.forget()
    assert "has no image for expenseentry/E-9" in refused(place, "url", receipt["id"], expect=1)
    place.token("bad-token")
    assert "does not accept the token" in refused(place, "url", receipt["id"], expect=1)
    place.config.write_text(place.config.read_text().replace(sandbox.url, "http://127.0.0.1:9"))
    assert "No connection" in refused(place, "url", receipt["id"], expect=1)
