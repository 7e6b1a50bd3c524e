"""Figures, scraped over HTTP from a real server and read by the parsers of the client library."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ingestd import metrics as metrics_module
from ingestd.alerts import Hearing, Looking, Snapshot
from ingestd.domain.document import Instant
from ingestd.domain.retry import later
from ingestd.domain.states import State
from ingestd.metrics import Figures, Metrics, serving
from ingestd.settings import MetricsSettings
from tests.unit.alerts.cases import DAY, HOUR, START, books, failing, needy, snapshot
from tests.unit.pipeline.rooms import Ears, open_rooms

Sample = tuple[str, frozenset[tuple[str, str]]]
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Frozen(Looking):
    """Shows the moment it is given."""

    moment: Snapshot = snapshot()
    looks: int = 0
    blocked: bool = False

    async def look(self, *, age: timedelta = timedelta()) -> Snapshot:
        self.looks += 1
        if self.blocked:
            await asyncio.sleep(3600)
        return self.moment


@dataclass
class Outside:
    failing: Mapping[tuple[str, str | None], tuple[Instant, str]] = field(default_factory=dict)
    paused: Mapping[str, tuple[Instant, str]] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Served:
    metrics: Metrics
    looking: Frozen
    url: str
    ears: Ears

    async def scrape(self, **headers: str) -> tuple[str, str]:
        """Content type and text."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/metrics", headers=headers) as answer,
        ):
            assert answer.status == 200
            return answer.headers["Content-Type"], await answer.text()

    async def counted(self) -> None:
        """Until the spool was counted for the first time."""
        async with asyncio.timeout(10):
            while key("ingestd_spool_bytes") not in await self.samples():
                await asyncio.sleep(0.02)

    async def samples(self) -> dict[Sample, float]:
        _, text = await self.scrape()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(text)
            for sample in family.samples
        }


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def served(directory: Path, port: int | None = None) -> AsyncIterator[Served]:
    async with open_rooms(directory) as rooms:
        looking = Frozen(
            reader=rooms.reader, outside=Outside(), sources={}, destinations={}, folders=(),
            directory=directory, clock=lambda: START, hearing=Hearing(),
        )  # fmt: skip
        metrics, ears, port = Metrics(), Ears(), port or free_port()
        async with serving(
            MetricsSettings(port=port),
            metrics,
            looking=looking,
            spool=rooms.spool.directory,
            alerts_open=lambda: {"target": 1},
            observer=ears,
        ):
            async with asyncio.timeout(20):
                while not ears.heard:  # it listens, or says why not
                    await asyncio.sleep(0.01)
            yield Served(metrics, looking, f"http://127.0.0.1:{port}", ears)


def key(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


async def test_what_happened_is_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as here:
        note = here.metrics.note
        for outcome, milliseconds in (("uploaded", 300), ("uploaded", 70_000), ("unavailable", 20)):
            note(
                "attempt.finished", receipt="0199-1", destined="concur:report/R1", outcome=outcome,
                milliseconds=milliseconds, sent_bytes=1000,
            )  # fmt: skip
        note("receipt.accepted", source="inbox", receipt="0199-1", path="a.pdf")
        note("receipt.repeated", source="inbox", receipt="0199-1")
        note("doubt.resolved", decision="SendAgain")
        note("upload.not_verified", level="error")
        found = await here.samples()
    assert found[key("ingestd_attempts_total", target="concur", outcome="uploaded")] == 2
    assert found[key("ingestd_attempts_total", target="concur", outcome="unavailable")] == 1
    assert found[key("ingestd_sent_bytes_total", target="concur")] == 3000
    assert found[key("ingestd_attempt_duration_seconds_count", target="concur")] == 3
    assert found[key("ingestd_attempt_duration_seconds_sum", target="concur")] == pytest.approx(70.32)
    assert found[key("ingestd_attempt_duration_seconds_bucket", target="concur", le="0.5")] == 2
    assert found[key("ingestd_receipts_accepted_total", source="inbox")] == 1
    assert found[key("ingestd_receipts_repeated_total", source="inbox")] == 1
    assert found[key("ingestd_doubts_resolved_total", decision="sendagain")] == 1
    assert found[key("ingestd_verifications_total", result="other")] == 1
    assert found[key("ingestd_events_total", level="error")] == 1


async def test_how_it_stands_is_shown(tmp_path: Path) -> None:
    (tmp_path / "spool/ab").mkdir(parents=True)
    (tmp_path / "spool/ab/blob").write_bytes(b"x" * 12_345)
    async with served(tmp_path) as here:
        here.looking.moment = snapshot(
            books=books(needy(1), needy(2), oldest_waiting=later(START, -HOUR)),
            logins={("concur", "ann"): later(START, 12 * DAY)},
            free_bytes=5_000_000,
            **failing(later(START, -HOUR), account="ann"),
        )
        await here.counted()
        found = await here.samples()
    assert found[key("ingestd_receipts", state="failed")] == 2
    assert {state for name, labels in found if name == "ingestd_receipts" for _, state in labels} == set(
        State
    )
    assert found[key("ingestd_receipts_need_person")] == 2
    assert found[key("ingestd_oldest_waiting_seconds")] == 3600
    assert found[key("ingestd_feedback_due")] == 2
    assert found[key("ingestd_gate_closed", target="concur", account="ann")] == 1
    assert found[key("ingestd_gate_closed", target="concur", account="")] == 0
    assert found[key("ingestd_places", target="concur")] == 4
    assert found[key("ingestd_source_trouble", source="inbox")] == 0
    assert found[key("ingestd_intake_paused", source="inbox")] == 0
    assert found[key("ingestd_free_bytes")] == 5_000_000
    assert found[key("ingestd_spool_bytes")] >= 12_345
    assert found[key("ingestd_login_days_left", target="concur", account="ann")] == pytest.approx(12)
    assert found[key("ingestd_login_expiry_timestamp_seconds", target="concur", account="ann")] == (
        later(START, 12 * DAY) / 1_000_000
    )
    assert found[key("ingestd_alerts_open", kind="target")] == 1
    assert found[key("ingestd_alerts_open", kind="disk")] == 0
    assert found[key("ingestd_ledger_readable")] == 1
    assert any(name == "ingestd_build_info" for name, _ in found)
    assert any(name == "process_resident_memory_bytes" for name, _ in found)


async def test_who_accepts_openmetrics_gets_it(tmp_path: Path) -> None:
    async with served(tmp_path) as here:
        here.metrics.note("attempt.finished", destined="concur:receipt", outcome="uploaded", milliseconds=1)
        content_type, text = await here.scrape(**OPENMETRICS)
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert text.endswith("# EOF\n")
        families = parse_openmetrics(text)  # type: ignore[no-untyped-call]  # of the library
        names = {family.name for family in families}
        assert {"ingestd_attempts", "ingestd_receipts", "ingestd_build"} <= names
        older, _ = await here.scrape()
        assert older.startswith("text/plain; version=0.0.4")


async def test_an_unreadable_ledger_shows_no_zeros(tmp_path: Path) -> None:
    async with served(tmp_path) as here:
        here.looking.moment = snapshot(books=None)
        found = await here.samples()
    assert found[key("ingestd_ledger_readable")] == 0
    assert not any(name in ("ingestd_receipts", "ingestd_oldest_waiting_seconds") for name, _ in found)


async def test_a_million_receipts_are_as_many_series_as_one(tmp_path: Path) -> None:
    async with served(tmp_path) as here:

        async def lines(receipts: int) -> int:
            for number in range(receipts):
                for event in ("receipt.accepted", "receipt.ready", "attempt.finished", "payload.ignored"):
                    here.metrics.note(
                        event, receipt=f"id-{number}", path=f"{number}.pdf", filename=f"{number}.pdf",
                        source="inbox", destined=f"concur:report/{number}", outcome="uploaded",
                        milliseconds=number, sent_bytes=1, reason=f"{number}", image_id=f"{number}",
                    )  # fmt: skip
            _, text = await here.scrape()
            return len(text.splitlines())

        await here.counted()
        assert await lines(1) == await lines(5000)


async def test_a_ledger_that_hangs_holds_no_scrape_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_module, "PATIENCE_SECONDS", 0.2)
    async with served(tmp_path) as here:
        before = await here.samples()
        here.looking.blocked = True
        async with asyncio.timeout(5):
            assert (await here.samples())[key("ingestd_snapshot_timestamp_seconds")] == (
                before[key("ingestd_snapshot_timestamp_seconds")]
            )


async def test_a_port_that_is_taken_stops_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_module, "LISTEN_AGAIN_SECONDS", 0.05)
    taken = socket.create_server(("127.0.0.1", 0))
    async with served(tmp_path, taken.getsockname()[1]) as here:
        assert here.ears.events() == ["metrics.unavailable"]
        assert "metrics.listen" in str(here.ears.heard[0][1]["reason"])
        taken.close()
        async with asyncio.timeout(10):
            while "metrics.listening" not in here.ears.events():
                await asyncio.sleep(0.02)
        assert await here.samples()
    assert here.ears.events().count("metrics.unavailable") == 1


async def test_nothing_but_the_figures_is_served(tmp_path: Path) -> None:
    async with served(tmp_path) as here, aiohttp.ClientSession() as session:
        for method, path, status in (
            ("GET", "/", 404),
            ("POST", "/metrics", 405),
            ("GET", "/metrics/x", 404),
        ):
            async with session.request(method, here.url + path) as answer:
                assert answer.status == status


def test_before_the_first_snapshot_there_is_nothing_to_lie_about(tmp_path: Path) -> None:
    figures = Figures.__new__(Figures)
    figures._snapshot, figures.spool_bytes, figures._alerts_open = None, None, None
    assert [family.name for family in figures.collect()] == ["ingestd_build"]
