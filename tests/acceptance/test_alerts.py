"""The running program tells people what needs them: over a real mail server, a real webhook, and /metrics."""

import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.letterbox import Keeper, smtp_server
from tests.acceptance.place import Place, SandboxProcess, wait_until

TABLES = """
[smtp]
host = "127.0.0.1"
port = {smtp_port}
security = "none"
sender = "receipts@example.com"
[alerts]
mail = ["it@example.com"]
webhook_file = "webhook"
failing = "1s"
after = "400ms"
every = "2s"
low_disk = "1MB"
[metrics]
listen = "127.0.0.1:{metrics_port}"
"""


class Chat(ThreadingHTTPServer):
    """Keeps what is posted; `status` is its answer."""

    status = 200

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.posted.append(json.loads(body))
                self.send_response(chat.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def events(self) -> list[str]:
        return [posted["ingestd"]["event"] for posted in self.posted]


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def smtp() -> Iterator[tuple[int, Keeper]]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def told(make_place: MakePlace, chat: Chat, smtp: tuple[int, Keeper]) -> Place:
    place = make_place()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with place.config.open("a") as file:
        file.write(TABLES.format(smtp_port=smtp[0], metrics_port=port))
    (place.directory / "port").write_text(str(port))
    webhook = place.directory / "webhook"
    webhook.write_text(f"http://127.0.0.1:{chat.server_port}/hooks/open-sesame\n")
    webhook.chmod(0o600)
    return place


def subjects(keeper: Keeper) -> list[str]:
    return [str(message["Subject"]).partition(": ")[2] for _, _, message in keeper.kept]


def figures(place: Place) -> dict[tuple[str, str], float]:
    """By name and the values of the labels, in the order of their names; empty while nobody answers."""
    port = (place.directory / "port").read_text()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return {}
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def settled(keeper: Keeper, chat: Chat, messages: int, place: Place) -> None:
    """Until so many messages came by each way, and a while longer: there must not be more."""
    wait_until(
        lambda: len(keeper.kept) >= messages and len(chat.posted) >= messages,
        f"{messages} message(s) came by each way",
        lambda: f"{subjects(keeper)} {chat.events}\n{place.log()}",
    )
    time.sleep(4)
    assert (len(keeper.kept), len(chat.posted)) == (messages, messages), (subjects(keeper), chat.events)


def test_an_outage_is_told_once_and_then_that_all_is_well_again(
    told: Place, sandbox: SandboxProcess, chat: Chat, smtp: tuple[int, Keeper]
) -> None:
    keeper = smtp[1]
    sandbox.faults(faults=[{"match": "receipt", "fault": "fail-503"}])
    with told.daemon():
        for number in range(3):
            told.drop(f"{number}.jpg", samples.small_jpeg(number))
        settled(keeper, chat, 1, told)
        assert subjects(keeper) == ["the target concur fails"]
        down = figures(told)
        sandbox.faults(faults=[])
        settled(keeper, chat, 2, told)
        up = figures(told)
    assert subjects(keeper) == ["the target concur fails", "all is well again"]
    assert chat.events == ["trouble", "well"]
    sender, recipients, message = keeper.kept[0]
    assert (sender.strip("<>"), recipients) == ("", ["it@example.com"])
    assert message["Auto-Submitted"] == "auto-generated" and "503" in keeper.text(0)
    assert (down["ingestd_gate_closed", "/concur"], up["ingestd_gate_closed", "/concur"]) == (1, 0)
    assert (down["ingestd_alerts_open", "target"], up["ingestd_alerts_open", "target"]) == (1, 0)
    assert down["ingestd_receipts", "ready"] == 3 and down["ingestd_oldest_waiting_seconds", ""] > 1
    assert down["ingestd_attempts_total", "unavailable/concur"] >= 1
    assert up["ingestd_attempts_total", "uploaded/concur"] == up["ingestd_receipts", "uploaded"] == 3
    assert up["ingestd_attempt_duration_seconds_count", "concur"] >= 4
    assert "open-sesame" not in told.log()


def test_a_receipt_that_needs_somebody_is_told_with_what_to_do_and_not_again_after_a_restart(
    told: Place, chat: Chat, smtp: tuple[int, Keeper]
) -> None:
    keeper = smtp[1]
    told.drop("empty.pdf", b"no receipt at all")
    with told.daemon():
        settled(keeper, chat, 1, told)
    (receipt,) = told.receipts()
    assert subjects(keeper) == ["1 receipt needs you"]
    text = " ".join(keeper.text(0).split())
    assert receipt["id"] in text and "empty.pdf" in text and "ingestd show ID" in text
    with told.daemon():
        settled(keeper, chat, 1, told)
        told.ingestd("drop", receipt["id"])
        settled(keeper, chat, 2, told)
    assert subjects(keeper)[1] == "all is well again"
    shown = told.ingestd("alerts").stdout
    assert "mail to it@example.com: last told " in shown and "open: nothing" in shown


def test_a_chat_that_is_down_costs_no_receipt(
    told: Place, sandbox: SandboxProcess, chat: Chat, smtp: tuple[int, Keeper]
) -> None:
    chat.status = 500
    with told.daemon():
        told.drop("bad.pdf", b"no receipt at all")
        wait_until(lambda: subjects(smtp[1]) == ["1 receipt needs you"], "the mail came", told.log)
        told.drop("good.jpg", samples.jpeg(1))
        wait_until(lambda: len(sandbox.images()) == 1, "the receipt is uploaded", told.log)
        wait_until(lambda: "alerts.unsent" in told.log(), "it is noted", told.log)
    assert told.balance()["closed"]
    assert "open-sesame" not in told.log()


def test_a_single_run_tells_nobody(told: Place, chat: Chat, smtp: tuple[int, Keeper]) -> None:
    told.drop("bad.pdf", b"no receipt at all")
    told.ingestd("run", "--until-idle", expect=3)
    assert not smtp[1].kept and not chat.posted


def test_every_way_can_be_tried(told: Place, chat: Chat, smtp: tuple[int, Keeper]) -> None:
    said = told.ingestd("alerts", "--test").stdout
    assert said.splitlines() == [
        "✓ mail to it@example.com: a test message was handed over",
        "✓ webhook_file: a test message was handed over",
    ]
    assert subjects(smtp[1]) == ["this is a test"] and chat.events == ["test"]
    chat.status = 404
    done = told.ingestd("alerts", "--test", "--json", expect=1)
    mail, webhook = json.loads(done.stdout)["alerts"]
    assert mail["sent"] and not webhook["sent"]
    assert "refuses the message (404)" in webhook["reason"]
    assert "open-sesame" not in done.stdout + done.stderr


def test_mistakes_are_named_with_their_key(told: Place, place: Place) -> None:
    assert "alerts: there is no such table" in place.ingestd("alerts", "--test", expect=2).stderr
    (told.directory / "webhook").write_text("http://chat.example.com/hooks/open-sesame")
    done = told.ingestd("check", expect=2)
    assert "alerts.webhook_file: what is in it http:// would show it to the network" in done.stderr
    assert "open-sesame" not in done.stderr + done.stdout
    (told.directory / "webhook").unlink()
    assert "alerts.webhook_file: file " in told.ingestd("check", expect=2).stderr
    text = told.config.read_text()
    told.config.write_text(re.sub(r"(?s)\[smtp\].*(?=\[alerts\])", "", text))
    assert "alerts.mail: mail needs a mail server" in told.ingestd("check", expect=2).stderr
