"""The contract of destinations, with Concur Image v1.0 and the sandbox as its judge."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.destinations.concur import ConcurImageV1
from ingestd.domain.outcome import (
    CannotSay,
    Found,
    NotThere,
    Outcome,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.routing import Slot
from ingestd.interfaces import Destination, Downloaded
from ingestd.sandbox import Sandbox, plan, serve
from ingestd.settings import ConcurImageV1Settings, ConcurLogin, OAuthSettings, Secret
from tests.contract.destination_contract import DestinationContract
from tests.unit.destinations.receipts import image_in, receipt_for


@dataclass
class ConcurPlace:
    url: str
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

    def fault_of_look_ups(self, name: str) -> None:
        self.sandbox.plan = plan.parse({"faults": [{"match": "*", "fault": name, "method": "GET"}]})

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
    url = await listening
    settings = ConcurImageV1Settings(
        name="concur", url=url, token=Secret(file=token_file), timeout=timedelta(seconds=20)
    )
    destination = ConcurImageV1(settings, connections=8)
    here = ConcurPlace(url, destination, token_file, sandbox, stop, stopped)
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

    # --- reading back

    async def test_every_slot_shows_what_was_uploaded_by_a_url(
        self, place: ConcurPlace, tmp_path: Path
    ) -> None:
        for seed, slot in enumerate(place.slots.values()):
            image = image_in(tmp_path, mime_type="application/pdf", seed=seed)
            uploaded = await place.destination.upload(image, receipt_for(slot))
            assert isinstance(uploaded, Uploaded)
            found = await place.destination.look_up(
                Slot.parse(slot), account=None, image_id=uploaded.image_id
            )
            assert isinstance(found, Found), found
            assert found.url is not None
            into = io.BytesIO()
            downloaded = await place.destination.download(found.url, into)
            assert downloaded == Downloaded(mime_type="application/pdf", size=image.size)
            assert into.getvalue() == image.path.read_bytes()
        assert place.sandbox.journal.leaks == 0, "no token goes to the host of the image"

    async def test_an_empty_slot_is_not_there_until_it_is_taken(
        self, place: ConcurPlace, tmp_path: Path
    ) -> None:
        slot = Slot.parse(place.slots["invoice"])
        assert isinstance(await place.destination.look_up(slot, account=None), NotThere)
        await place.destination.upload(image_in(tmp_path), receipt_for(str(slot)))
        assert isinstance(await place.destination.look_up(slot, account=None), Found)

    async def test_an_image_whose_answer_was_lost_is_found(self, place: ConcurPlace, tmp_path: Path) -> None:
        slot = "expenseentry/accept-then-drop-x1"
        outcome = await place.destination.upload(image_in(tmp_path), receipt_for(slot))
        assert isinstance(outcome, Unconfirmed)
        assert isinstance(await place.destination.look_up(Slot.parse(slot), account=None), Found)

    @pytest.mark.parametrize(
        ("fault", "obstacle"),
        [
            ("fail-500", None),
            ("error-in-200", None),
            ("imaging-500", None),
            ("html-404", Unavailable),
            ("html-502", Unavailable),
            ("fail-503", Unavailable),
            ("drop-before", Unavailable),
            ("redirect", Unavailable),
            ("deadlock-400", Unavailable),
            ("throttle-5", Throttled),
            ("limit-400", Throttled),
        ],
    )
    async def test_a_fault_of_a_look_up_never_says_that_a_slot_is_empty(
        self, place: ConcurPlace, fault: str, obstacle: type | None
    ) -> None:
        place.fault_of_look_ups(fault)
        result = await place.destination.look_up(Slot("expenseentry", "1"), account=None)
        assert isinstance(result, CannotSay), result
        assert result.obstacle is None if obstacle is None else isinstance(result.obstacle, obstacle)
        assert result.evidence.correlation_id

    @pytest.mark.parametrize("fault", ["empty-200", "truncated-xml", "cut-answer"])
    async def test_a_garbled_answer_is_no_image(self, place: ConcurPlace, tmp_path: Path, fault: str) -> None:
        await place.destination.upload(image_in(tmp_path), receipt_for("invoice/1"))
        place.fault_of_look_ups(fault)
        result = await place.destination.look_up(Slot("invoice", "1"), account=None)
        assert isinstance(result, CannotSay), result

    async def test_an_expired_url_gives_no_image_and_a_missing_one_is_none(
        self, place: ConcurPlace, tmp_path: Path
    ) -> None:
        for identifier in ("expired-url", "no-url"):
            await place.destination.upload(image_in(tmp_path), receipt_for(f"invoice/{identifier}"))
        found = await place.destination.look_up(Slot("invoice", "no-url"), account=None)
        assert isinstance(found, Found)
        assert found.url is None
        expired = await place.destination.look_up(Slot("invoice", "expired-url"), account=None)
        assert isinstance(expired, Found)
        assert expired.url is not None
        result = await place.destination.download(expired.url, io.BytesIO())
        assert isinstance(result, CannotSay)
        assert result.obstacle is None

    async def test_a_bad_token_is_an_obstacle_of_every_look_up(self, place: ConcurPlace) -> None:
        place.token_file.write_text(place.bad_token)
        result = await place.destination.look_up(Slot("invoice", "1"), account=None)
        assert isinstance(result, CannotSay)
        assert isinstance(result.obstacle, Unavailable)
        assert result.obstacle.everything
        assert place.bad_token not in repr(result)

    # --- OAuth 2.0

    @pytest.mark.parametrize("refused", [401, 403])
    async def test_a_login_that_expired_on_the_server_is_renewed_once_for_all(
        self, place: ConcurPlace, tmp_path: Path, refused: int
    ) -> None:
        sandbox, url = place.sandbox, place.url
        (tmp_path / "refresh").write_text("first-refresh-token")
        (tmp_path / "secret").write_text("client-secret")
        oauth = OAuthSettings(
            grant="refresh_token",
            token_url=f"{url}/oauth2/v0/token",
            client_id="ours",
            client_secret=Secret(file=tmp_path / "secret"),
            refresh_token=Secret(file=tmp_path / "refresh"),
            store=tmp_path / "login.json",
            concur=ConcurLogin(api_url=url, command="ingestd login concur"),
        )
        sandbox.plan = plan.parse({"switches": {"bad_token": refused, "token_seconds": 300}})
        settings = ConcurImageV1Settings(name="concur", url=url, oauth=oauth, timeout=timedelta(seconds=20))
        destination = ConcurImageV1(settings, connections=8)
        try:
            assert isinstance(await destination.upload(image_in(tmp_path), receipt_for("receipt")), Uploaded)
            started, sandbox.now = sandbox.now(), lambda: started + 400
            images = [image_in(tmp_path, seed=seed) for seed in range(8)]
            outcomes = await asyncio.gather(
                *(destination.upload(image, receipt_for("report/1")) for image in images)
            )
            assert {type(outcome) for outcome in outcomes} == {Uploaded}
            assert len(place.stored()) == 9
            asked = [one for one in sandbox.journal.last(100) if "oauth2" in one["path"]]
            assert len(asked) == 2, "one token at first, and one for eight who were refused"
        finally:
            await destination.aclose()
