import re
from pathlib import Path

import pytest

from ingestd.domain.document import Document
from ingestd.normalizer import message_reasons
from ingestd.normalizer.exchange_mail import Automatic, Excuse, Obstacle, Unopened

MESSAGE = Document(path=Path("/x"), filename="m.eml", size=61_000_000, sha256="ab" * 32, declared_type=None)


def test_every_word_has_a_sentence() -> None:
    assert set(message_reasons.OBSTACLES) == set(Obstacle)
    assert set(message_reasons.EXCUSES) == set(Excuse)
    assert set(message_reasons.AUTOMATIC) == set(Automatic)


@pytest.mark.parametrize("obstacle", Obstacle)
def test_an_obstacle_is_told_with_its_number_and_a_way_out(obstacle: Obstacle) -> None:
    told = message_reasons.unopened(MESSAGE, Unopened(obstacle=obstacle, numbers={"limit": 100_000_000}))
    assert told.filename == "m.eml"
    assert "?" not in told.reason and "{" not in told.reason
    assert told.reason.endswith(".") and told.fix.endswith(".")


def test_a_number_that_is_missing_is_a_question_mark() -> None:
    assert "?" in message_reasons.unopened(MESSAGE, Unopened(obstacle=Obstacle.TOO_MANY_PARTS)).reason


@pytest.mark.parametrize("excuse", Excuse)
def test_an_excuse_is_whole_sentences(excuse: Excuse) -> None:
    assert re.fullmatch(r"[A-Z].*\.", message_reasons.EXCUSES[excuse])


def test_a_message_too_large_is_told_its_size() -> None:
    told = message_reasons.too_large(MESSAGE, 60_000_000)
    assert "61 MB; at most 60 MB" in told.reason


@pytest.mark.parametrize("kind", ["wall", "cpu", "memory", "crash"])
def test_what_ended_the_process_is_told_in_plain_words(kind: str) -> None:
    told = message_reasons.opening_died(MESSAGE, kind)  # type: ignore[arg-type] # each of the literals
    assert told.reason and told.fix
