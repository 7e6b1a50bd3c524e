"""The webhook, against a real server: what is posted, and every way in which a server can say no."""

from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.alerts import WebhookWay
from ingestd.alerts.conditions import conditions
from ingestd.alerts.digest import Message
from ingestd.http.tokens import SecretReader
from ingestd.interfaces import SourceUnavailable, Undeliverable
from ingestd.settings import Secret
from tests.unit.alerts.cases import SETTINGS, START, books, needy, snapshot
from tests.unit.alerts.server import hook

SECRET_PATH = "/services/T0/B0/sesame-open-up?sig=a%2Fb%3D"


def way(url: str, *, silence: float = 5, quotable: bool = True) -> WebhookWay:
    return WebhookWay(
        lambda: url, name="webhook", host="srv1", quotable=quotable, silence=timedelta(seconds=silence)
    )


def message() -> Message:
    moment = snapshot(books=books(needy(1), needy(2, discreet=True)))
    return Message(event="trouble", alerts=conditions(moment, SETTINGS))


async def test_a_chat_gets_a_text_and_a_program_gets_fields() -> None:
    async with hook() as server:
        await way(server.url + SECRET_PATH).send(message(), START)
    (posted,) = server.posted
    assert server.paths == [SECRET_PATH], "as it was written, to the letter"
    assert server.headers[0]["Content-Type"] == "application/json"
    assert posted["text"].startswith("ingestd on srv1: 2 receipts need you\n")
    fields = posted["ingestd"]
    assert (fields["event"], fields["host"], fields["at"]) == ("trouble", "srv1", "2025-10-09T08:53:20Z")
    (alert,) = fields["alerts"]
    assert (alert["kind"], alert["count"]) == ("receipts", 2)
    assert alert["receipts"][0] == {
        "id": "0199-0001", "state": "failed", "filename": "taxi1.pdf", "reason": "The report does not exist.",
    }  # fmt: skip
    assert alert["receipts"][1] == {"id": "0199-0002", "state": "failed"}, "it came by mail"


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, SourceUnavailable), (503, SourceUnavailable), (429, SourceUnavailable), (404, Undeliverable),
     (400, Undeliverable), (301, Undeliverable), (307, Undeliverable), (0, SourceUnavailable)],
)  # fmt: skip
async def test_a_server_that_does_not_take_it_is_named_without_the_secret(
    status: int, error: type[Exception]
) -> None:
    async with hook() as server:
        server.answers = [status]
        with pytest.raises(error) as caught:
            await way(server.url + SECRET_PATH, silence=0.3).send(message(), START)
        assert len(server.posted) == 1, "a redirect is not followed, and nothing is sent twice"
    assert "sesame" not in str(caught.value) and "sig" not in str(caught.value)
    assert server.url.removeprefix("http://") in str(caught.value)


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    async with hook() as server:
        url = server.url
    with pytest.raises(SourceUnavailable, match="No connection"):
        await way(url + SECRET_PATH).send(message(), START)


@pytest.mark.parametrize(
    "url", ["http://chat.example.com/hook", "ftp://localhost/x", "nonsense", "https://u:p@h/x"]
)
async def test_what_is_no_safe_url_gets_nothing(url: str) -> None:
    with pytest.raises(Undeliverable) as caught:
        await way(url).send(message(), START)
    assert url not in str(caught.value)


async def test_a_new_url_in_the_file_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "webhook"
    async with hook() as server:
        own = WebhookWay(SecretReader(Secret(file=file)), name="webhook_file", host="srv1", quotable=False)
        with pytest.raises(SourceUnavailable, match="does not exist"):
            await own.send(message(), START)
        for name in ("one", "another"):
            file.write_text(f"{server.url}/{name}\n")
            await own.send(message(), START)
    assert server.paths == ["/one", "/another"]
