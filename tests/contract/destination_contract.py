"""What every Destination promises, whatever its API: one suite, run against a judge that is not ours.

Subclass DestinationContract in test_destination_*.py and give it a `place` fixture.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from ingestd.domain.outcome import Refused, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.routing import InvalidSlot, Slot
from ingestd.interfaces import Destination
from tests.unit.destinations.receipts import image_in, receipt_for


class Place(Protocol):
    """A target to upload to, and the other side of it."""

    destination: Destination
    token_file: Path
    slots: Mapping[str, str]
    """A good slot for each kind."""
    loses_answers: str
    """A slot that stores the image and then closes the connection."""
    breaks_off: str
    """A slot that resets the connection in the middle of the body."""
    answers_late: str
    """A slot that stores the image and answers long after the test is over."""
    bad_token: str
    good_token: str

    def stored(self) -> list[tuple[str, bytes]]:
        """Every image the target holds: slot and content, oldest first."""
        ...

    async def go_away(self) -> None:
        """From now on nobody listens there."""
        ...


class DestinationContract:
    async def test_every_slot_takes_an_image_and_names_it(self, place: Place, tmp_path: Path) -> None:
        assert set(place.slots) == set(place.destination.slots)
        expected = []
        for seed, slot in enumerate(place.slots.values()):
            image = image_in(tmp_path, seed=seed)
            outcome = await place.destination.upload(image, receipt_for(slot))
            assert isinstance(outcome, Uploaded), outcome
            assert outcome.image_id
            assert outcome.evidence.correlation_id
            assert outcome.evidence.bytes_sent == image.size
            expected.append((slot, image.path.read_bytes()))
        assert place.stored() == expected

    async def test_every_type_of_the_limits_is_taken(self, place: Place, tmp_path: Path) -> None:
        slot = next(iter(place.slots.values()))
        for mime_type in place.destination.limits(Slot.parse(slot)).types:
            outcome = await place.destination.upload(
                image_in(tmp_path, mime_type=mime_type), receipt_for(slot)
            )
            assert isinstance(outcome, Uploaded), outcome

    async def test_an_image_of_the_largest_size_is_taken_and_one_byte_more_is_not_sent(
        self, place: Place, tmp_path: Path
    ) -> None:
        slot = next(iter(place.slots.values()))
        largest = place.destination.limits(Slot.parse(slot)).max_bytes
        outcome = await place.destination.upload(image_in(tmp_path, size=largest), receipt_for(slot))
        assert isinstance(outcome, Uploaded), outcome
        outcome = await place.destination.upload(image_in(tmp_path, size=largest + 1), receipt_for(slot))
        assert isinstance(outcome, Refused)
        assert len(place.stored()) == 1

    async def test_a_slot_that_does_not_exist_is_refused_before_anything_is_sent(
        self, place: Place, tmp_path: Path
    ) -> None:
        wrong = ["nonsense", "nonsense/1"]
        wrong += [kind if needs else f"{kind}/1" for kind, needs in place.destination.slots.items()]
        for slot in wrong:
            with pytest.raises(InvalidSlot):
                place.destination.limits(Slot.parse(slot))
            outcome = await place.destination.upload(image_in(tmp_path), receipt_for(slot))
            assert isinstance(outcome, Refused)
            assert outcome.fix
        assert place.stored() == []

    async def test_a_damaged_image_is_never_uploaded(self, place: Place, tmp_path: Path) -> None:
        slot = next(iter(place.slots.values()))
        image = image_in(tmp_path)
        content = image.path.read_bytes()
        for damage in (content[:-1], content + b"x", content[:-1] + b"\x01", b""):
            image.path.write_bytes(damage)
            outcome = await place.destination.upload(image, receipt_for(slot))
            assert isinstance(outcome, Refused)
            assert "damaged" in outcome.reason
        image.path.unlink()
        assert isinstance(await place.destination.upload(image, receipt_for(slot)), Refused)
        assert place.stored() == []

    async def test_an_account_nobody_configured_is_refused_with_the_setting_to_make(
        self, place: Place, tmp_path: Path
    ) -> None:
        slot = next(iter(place.slots.values()))
        receipt = replace(receipt_for(slot), account="stranger")
        outcome = await place.destination.upload(image_in(tmp_path), receipt)
        assert isinstance(outcome, Refused)
        assert "accounts.stranger" in outcome.fix
        assert place.stored() == []

    async def test_a_bad_token_is_waited_for_and_a_new_one_is_picked_up(
        self, place: Place, tmp_path: Path
    ) -> None:
        for slot in place.slots.values():
            for text in (place.bad_token, ""):
                place.token_file.write_text(text)
                outcome = await place.destination.upload(image_in(tmp_path), receipt_for(slot))
                assert isinstance(outcome, Unavailable)
                assert outcome.everything
                assert str(place.token_file) in outcome.reason + outcome.fix
                assert place.bad_token not in repr(outcome)
            place.token_file.write_text(place.good_token)
            outcome = await place.destination.upload(image_in(tmp_path), receipt_for(slot))
            assert isinstance(outcome, Uploaded)

    async def test_a_lost_answer_is_unconfirmed_and_sent_only_once(
        self, place: Place, tmp_path: Path
    ) -> None:
        outcome = await place.destination.upload(image_in(tmp_path), receipt_for(place.loses_answers))
        assert isinstance(outcome, Unconfirmed)
        assert len(place.stored()) == 1

    async def test_a_connection_that_breaks_within_the_body_may_be_tried_again(
        self, place: Place, tmp_path: Path
    ) -> None:
        image = image_in(tmp_path, size=4_000_000)
        outcome = await place.destination.upload(image, receipt_for(place.breaks_off))
        assert isinstance(outcome, Unavailable)
        assert 0 < outcome.evidence.bytes_sent < image.size
        assert place.stored() == []

    async def test_a_target_that_is_away_is_unavailable_as_a_whole(
        self, place: Place, tmp_path: Path
    ) -> None:
        await place.go_away()
        slot = next(iter(place.slots.values()))
        outcome = await place.destination.upload(image_in(tmp_path), receipt_for(slot))
        assert isinstance(outcome, Unavailable)
        assert outcome.everything
        assert await place.destination.check() != []

    async def test_a_cancelled_upload_leaves_the_destination_usable(
        self, place: Place, tmp_path: Path
    ) -> None:
        image = image_in(tmp_path)
        task = asyncio.create_task(place.destination.upload(image, receipt_for(place.answers_late)))
        while not place.stored():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        slot = next(iter(place.slots.values()))
        assert isinstance(await place.destination.upload(image, receipt_for(slot)), Uploaded)

    async def test_many_at_once_all_arrive_once(self, place: Place, tmp_path: Path) -> None:
        slot = next(iter(place.slots.values()))
        images = [image_in(tmp_path, seed=seed) for seed in range(40)]
        outcomes = await asyncio.gather(
            *(place.destination.upload(image, receipt_for(slot)) for image in images)
        )
        assert {type(outcome) for outcome in outcomes} == {Uploaded}
        assert sorted(content for _, content in place.stored()) == sorted(i.path.read_bytes() for i in images)

    async def test_the_check_finds_a_bad_token_and_uploads_nothing(self, place: Place) -> None:
        assert list(await place.destination.check()) == []
        place.token_file.write_text(place.bad_token)
        (problem,) = await place.destination.check()
        assert str(place.token_file) in problem
        place.token_file.unlink()
        (problem,) = await place.destination.check()
        assert str(place.token_file) in problem
        assert place.stored() == []

    async def test_it_can_be_closed_twice_and_unused(self, place: Place) -> None:
        await place.destination.aclose()
        await place.destination.aclose()
