import hashlib
import os
import re
from datetime import datetime
from pathlib import Path

import pytest

from ingestd.sandbox import Sandbox, fingerprint
from ingestd.sandbox.faults import CATALOGUE
from ingestd.sandbox.slots import Slot
from ingestd.sandbox.store import Images
from tests.unit.sandbox.client import Client, jpeg, png


async def test_the_listing_names_every_image_in_order(client: Client) -> None:
    receipt = await client.post("receipt")
    await client.post("report/1", png(), content_type="image/png", authorization="OAuth ann")
    first, second = await client.images()
    assert datetime.fromisoformat(first.pop("at")).utcoffset() is not None
    assert first == {
        "number": 1,
        "slot": "receipt",
        "id": None,
        "image_id": receipt.image_id,
        "sha256": hashlib.sha256(jpeg()).hexdigest(),
        "size": 1000,
        "content_type": "image/jpeg",
        "account": fingerprint("good"),
        "correlation_id": receipt.headers["Concur-Correlationid"],
        "kept": True,
    }
    assert (second["number"], second["slot"], second["id"]) == (2, "report", "1")
    assert second["account"] == fingerprint("ann") == hashlib.sha256(b"ann").hexdigest()[:12]


async def test_the_listing_can_be_narrowed(client: Client) -> None:
    for slot in ("receipt", "report/1", "report/2", "expenseentry/1"):
        await client.post(slot)

    async def numbers(query: str) -> list[int]:
        return [image["number"] for image in await client.images(query)]

    assert await numbers("?slot=receipt") == [1]
    assert await numbers("?slot=report/*") == [2, 3]
    assert await numbers("?slot=report") == []
    assert await numbers("?slot=*/1") == [2, 4]
    assert await numbers("?after=2") == [3, 4]
    assert await numbers("?after=nonsense") == [1, 2, 3, 4]


async def test_the_bytes_of_an_image_come_back_as_they_went(client: Client) -> None:
    await client.post("receipt")
    await client.post("receipt", png(), content_type="image/png")
    second = await client.fetch(f"{client.base}/_sandbox/images/2/content")
    assert (second.body, second.headers["Content-Type"]) == (png(), "image/png")
    for nothing in ("0", "3", "x", "9" * 20):
        assert (await client.fetch(f"{client.base}/_sandbox/images/{nothing}/content")).status == 404


async def test_requests_are_counted_and_listed_without_any_token(client: Client) -> None:
    await client.post("receipt", authorization="Bearer s3cret-canary")
    await client.post("report/unknown-1", authorization="OAuth s3cret-canary")
    await client.post("receipt", authorization="Bearer bad-s3cret-canary")
    seen = await client.own("GET", "requests")
    assert (seen["total"], seen["by_status"]) == (3, {"201": 1, "403": 1, "404": 1})
    first, second, third = seen["requests"]
    assert (first["number"], first["method"], first["path"]) == (1, "POST", "/api/image/v1.0/receipt")
    assert (first["status"], first["received"], first["content_length"]) == (201, 1000, "1000")
    assert first["account"] == second["account"] == fingerprint("s3cret-canary")
    assert second["message"] == "No such report."
    assert third["account"] == fingerprint("bad-s3cret-canary")
    assert [each["number"] for each in (await client.own("GET", "requests?limit=2"))["requests"]] == [2, 3]
    for page in ("requests", "images", "faults"):
        assert "s3cret" not in str(await client.own("GET", page))


async def test_reset_is_as_after_the_start(client: Client) -> None:
    await client.post("expenseentry/1")
    await client.post("expenseentry/fail-500-x1")
    await client.plan({"fault": "fail-500"})
    await client.own("POST", "reset")
    assert await client.own("GET", "images") == {"images": [], "requests": {"total": 0, "by_status": {}}}
    assert (await client.post("expenseentry/1")).status == 201
    assert (await client.post("expenseentry/fail-500-x1")).status == 500
    assert [image["number"] for image in await client.images()] == [1]


async def test_the_index_explains_itself_to_people_and_to_curl(client: Client) -> None:
    await client.post("receipt")
    text = (await client.fetch(client.base + "/")).body.decode()
    assert "It holds 1 images now" in text
    assert f"curl -X PUT {client.base}/_sandbox/faults" in text
    for entry in CATALOGUE.values():
        assert entry.example in text
    page = (await client.fetch(client.base + "/", {"Accept": "text/html"})).body.decode()
    assert page.startswith("<!doctype html>")
    assert "&lt;Url&gt;" in page


async def test_what_the_index_shows_can_be_followed(client: Client) -> None:
    text = (await client.fetch(client.base + "/")).body.decode()
    examples = re.findall(r"-X PUT (\S+) -d '([^']*)'", text)
    assert len(examples) == 3
    for url, document in examples:
        async with client.session.put(url, data=document) as response:
            assert response.status == 200, await response.text()


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path, kept_bytes=3000)


def put(images: Images, content: bytes) -> bytes | None:
    image = images.put(
        Slot("report", "1"), content, content_type="image/png", account="a", correlation_id="c"
    )
    assert image.sha256 == hashlib.sha256(content).hexdigest()
    return images.content(image)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_images_lie_in_one_file_without_a_name(images: Images, tmp_path: Path) -> None:
    before = open_files()
    assert [put(images, bytes([number]) * 100) for number in range(20)] == [
        bytes([number]) * 100 for number in range(20)
    ]
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []
    images.close()


def test_beyond_the_limit_only_hashes_are_kept(images: Images) -> None:
    assert put(images, b"a" * 2000) == b"a" * 2000
    assert put(images, b"b" * 2000) is None
    assert put(images, b"c" * 1000) == b"c" * 1000
    assert [image.as_json()["kept"] for image in images] == [True, False, True]
    images.close()


def test_a_full_disk_keeps_hashes_and_goes_on(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert put(images, b"a" * 100) is None
    assert put(images, b"b" * 100) == b"b" * 100
    images.close()


def test_a_write_that_stops_halfway_goes_on(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:7], offset))
    assert put(images, b"first, and whole") == b"first, and whole"
    assert put(images, b"second, as whole") == b"second, as whole"
    images.close()


def test_a_reset_gives_the_disk_space_back(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    slot = Slot("report", "1")
    old = sandbox.images.put(slot, b"x" * 9999, content_type="image/png", account="a", correlation_id="c")
    sandbox.reset()
    assert os.fstat(sandbox.images._file.fileno()).st_size == 0
    sandbox.images.put(slot, b"y" * 9999, content_type="image/png", account="a", correlation_id="c")
    assert sandbox.images.content(old) is None
    sandbox.close()


async def test_only_hashes_are_served_when_bytes_were_not_kept(client: Client, state: Sandbox) -> None:
    state.images._kept_bytes = 10
    await client.post("report/1")
    assert [image["kept"] for image in await client.images()] == [False]
    assert (await client.fetch(f"{client.base}/_sandbox/images/1/content")).status == 410
    assert (await client.fetch((await client.get("report/1")).url)).status == 404
