"""The contract of destinations, with Concur Image v1.0 and the sandbox as its judge."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.destinations.concur import ConcurImageV1
from ingestd.domain.outcome import Outcome, Refused, Throttled, Unavailable, Unconfirmed, Uploaded
from ingestd.interfaces import Destination
from ingestd.sandbox import Sandbox, serve
from ingestd.settings import ConcurImageV1Settings, Secret
from tests.contract.destination_contract import DestinationContract
from tests.unit.destinations.receipts import image_in, receipt_for


@dataclass
class ConcurPlace:
    destination: Destination
    token_file: Path
    sandbox: Sandbox
    stop: asyncio.Event
    stopped: asyncio.Task[None]
    loses_answers: str = "report/accept-then-drop"
    breaks_off: str = "report/drop-mid-body"
    answers_late: str = "report/slow-60"
    bad_token: str = "bad-canary-5f0c"
    good_token: str = "good-canary-5f0c"
    slots: dict[str, str] = field(
        default_factory=lambda: {
            "receipt": "receipt",
            "expenseentry": "expenseentry/nf$UE/G%T",
            "invoice": "invoice/1",
            "report": "report/764428DD6A664AF0BFCB",
        }
    )

    def stored(self) -> list[tuple[str, bytes]]:
        images = self.sandbox.images
        return [(image.place, images.content(image) or b"") for image in images]

    async def go_away(self) -> None:
        self.stop.set()
        await self.stopped


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[ConcurPlace]:
    sandbox, stop = Sandbox(tmp_path), asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stopped = asyncio.create_task(serve(ready=listening.set_result, stop=stop, state=sandbox))
    token_file = tmp_path / "token"
    token_file.write_text(ConcurPlace.good_token)
    settings = ConcurImageV1Settings(
        name="concur", url=await listening, token=Secret(file=token_file), timeout=timedelta(seconds=20)
    )
    destination = ConcurImageV1(settings, connections=8)
    here = ConcurPlace(destination, token_file, sandbox, stop, stopped)
    yield here
    await destination.aclose()
    await here.go_away()
    sandbox.close()


class TestConcurImageV1(DestinationContract):
    """All of the contract, then what is particular to this API."""

    @pytest.mark.parametrize(
        ("identifier", "expected", "stored"),
        [
            ("fail-400", Refused, 0),
            ("fail-413", Refused, 0),
            ("fail-500", Unconfirmed, 0),
            ("fail-503", Unavailable, 0),
            ("throttle", Throttled, 0),
            ("throttle-5", Throttled, 0),
            ("throttle-date-5", Throttled, 0),
            ("limit-400", Throttled, 0),
            ("deadlock-400", Unavailable, 0),
            ("imaging-500", Refused, 0),
            ("error-in-200", Refused, 0),
            ("html-502", Unconfirmed, 0),
            ("redirect", Unavailable, 0),
            ("accept-then-500", Unconfirmed, 1),
            ("accept-then-drop", Unconfirmed, 1),
            ("empty-201", Unconfirmed, 1),
            ("truncated-xml", Unconfirmed, 1),
            ("cut-answer", Unconfirmed, 1),
            ("slow-0", Uploaded, 1),
            ("unknown-1", Refused, 0),
        ],
    )
    @pytest.mark.parametrize("kind", ["report", "expenseentry", "invoice"])
    async def test_every_fault_of_the_sandbox_has_its_outcome(
        self,
        place: ConcurPlace,
        tmp_path: Path,
        kind: str,
        identifier: str,
        expected: type[Outcome],
        stored: int,
    ) -> None:
        outcome = await place.destination.upload(image_in(tmp_path), receipt_for(f"{kind}/{identifier}"))
        assert type(outcome) is expected, outcome
        assert len(place.stored()) == stored
        assert outcome.evidence.correlation_id
        if stored == 0:
            assert type(outcome) is not Uploaded

    async def test_a_second_image_for_an_entry_is_refused_as_taken(
        self, place: ConcurPlace, tmp_path: Path
    ) -> None:
        slot = place.slots["expenseentry"]
        await place.destination.upload(image_in(tmp_path), receipt_for(slot))
        outcome = await place.destination.upload(image_in(tmp_path, seed=1), receipt_for(slot))
        assert isinstance(outcome, Refused)
        assert "already has an image" in outcome.reason
        assert len(place.stored()) == 1
