import asyncio
import hashlib
import uuid

import pytest

from ingestd.sandbox import fingerprint
from tests.unit.sandbox.client import Client, jpeg, pdf, png


async def test_a_receipt_gets_a_new_opaque_image_id(client: Client) -> None:
    first, second = await client.post("receipt"), await client.post("receipt")
    assert first.status == second.status == 201
    assert first.headers["Content-Type"] == "application/xml"
    assert first.image_id != second.image_id
    assert len(first.image_id) == 52
    assert first.image_id.count("$") == 2
    assert first.url == ""
    assert b"<Url />" in first.body


@pytest.mark.parametrize("kind", ["expenseentry", "invoice", "report"])
async def test_every_other_slot_echoes_the_id_of_the_url(client: Client, kind: str) -> None:
    answer = await client.post(f"{kind}/A2C40CEE415B43B2A0BE")
    assert (answer.status, answer.image_id) == (201, "A2C40CEE415B43B2A0BE")


async def test_ids_are_percent_decoded(client: Client) -> None:
    answer = await client.post("expenseentry/a%24b%2Fc%20%26%3C")
    assert answer.image_id == "a$b/c &<"
    assert [image["id"] for image in await client.images()] == ["a$b/c &<"]


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("image/jpeg", jpeg()),
        ("image/jpg", jpeg()),
        ("image/png", png()),
        ("application/pdf", pdf()),
        ("Image/JPEG; name=x", jpeg()),
    ],
)
async def test_the_four_types_are_taken(client: Client, content_type: str, content: bytes) -> None:
    assert (await client.post("receipt", content, content_type=content_type)).status == 201
    [image] = await client.images()
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert image["size"] == len(content)


@pytest.mark.parametrize("kind", ["expenseentry", "invoice"])
async def test_an_entry_or_invoice_never_takes_a_second_image(client: Client, kind: str) -> None:
    assert (await client.post(f"{kind}/1")).status == 201
    again = await client.post(f"{kind}/1", png(), content_type="image/png")
    assert again.status == 400
    assert "already attached" in again.message
    assert (await client.post(f"{kind}/2")).status == 201
    assert len(await client.images()) == 2


async def test_a_report_appends(client: Client) -> None:
    for _ in range(3):
        assert (await client.post("report/7")).status == 201
    assert [image["number"] for image in await client.images("?slot=report/7")] == [1, 2, 3]


async def test_of_many_images_racing_for_one_entry_exactly_one_wins(client: Client) -> None:
    # PDFs that name /Encrypt wait for a thread in the middle of the checks: the widest gap there is.
    content = pdf() + b"% no /Encrypt here\n"
    answers = await asyncio.gather(
        *(client.post("expenseentry/1", content, content_type="application/pdf") for _ in range(12))
    )
    assert sorted(answer.status for answer in answers) == [201] + [400] * 11
    assert len(await client.images()) == 1


@pytest.mark.parametrize("scheme", ["OAuth", "oauth", "Bearer", "BEARER"])
async def test_both_schemes_are_good_in_any_case(client: Client, scheme: str) -> None:
    assert (await client.post("receipt", authorization=f"{scheme} ann")).status == 201
    [image] = await client.images()
    assert image["account"] == fingerprint("ann")


async def test_every_answer_carries_a_correlation_id_of_its_own_or_the_clients(client: Client) -> None:
    good, bad = await client.post("receipt"), await client.get("receipt/none", authorization=None)
    assert uuid.UUID(good.headers["Concur-Correlationid"]) != uuid.UUID(bad.headers["Concur-Correlationid"])
    mine = await client.post("receipt", headers={"concur-correlationid": "mine-1"})
    assert mine.headers["Concur-Correlationid"] == "mine-1"
    nowhere = await client.fetch(client.base + "/nowhere")
    assert (nowhere.status, nowhere.xml.tag) == (404, "Error")
    assert str(uuid.UUID(nowhere.headers["Concur-Correlationid"])) == nowhere.headers["Concur-Correlationid"]
    assert [image["correlation_id"] for image in await client.images()] == [
        good.headers["Concur-Correlationid"],
        "mine-1",
    ]


async def test_json_comes_to_those_who_ask_for_it(client: Client) -> None:
    good = await client.post("report/9", headers={"Accept": "application/json"})
    assert good.headers["Content-Type"] == "application/json"
    assert good.body == b'{"Id": "9", "Url": ""}'
    both = await client.post("report/9", headers={"Accept": "application/xml, application/json;q=0.5"})
    assert both.headers["Content-Type"] == "application/xml"
    bad = await client.post("report/unknown-9", headers={"Accept": "application/json"})
    assert b'"Error": {"Message": "No such report.", "Server-Time": ' in bad.body


async def test_a_wrong_method_is_said_in_xml(client: Client) -> None:
    async with client.session.put(f"{client.base}/api/image/v1.0/receipt") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert "<Error>" in await response.text()
