"""The file of what was told: it survives a restart, and a damaged one is no obstacle."""

from pathlib import Path

import pytest

from ingestd.alerts.digest import Item, Told
from ingestd.alerts.memory import Memory
from ingestd.domain.document import Instant
from tests.unit.alerts.cases import START

TOLD = Told(
    open={
        "receipts:": Item(title="3 receipts need you", news=7),
        "login:concur": Item(title="x", news=-7, notice=True),
    },
    gone={"target:concur/ann": "the target concur (ann) fails"},
    digest_at=START,
    sent=(Instant(START - 5), START),
)


def remembered(path: Path) -> Told:
    memory = Memory(path)
    assert memory.load(now=START) is None
    return memory.of("webhook")


def test_what_was_told_is_the_same_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    memory = Memory(path)
    assert memory.load(now=START) is None and memory.of("webhook") == Told()
    assert memory.keep("webhook", TOLD)
    assert not memory.keep("webhook", TOLD), "nothing to save"
    memory.save()
    assert remembered(path) == TOLD
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["alerts.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 2, "ways": {}}', '{"version": 1, "ways": {"webhook": 5}}',
     '{"version": 1, "ways": {"webhook": {"open": {"x": {}}, "gone": {}, "digest_at": null, "sent": []}}}',
     '{"version": 1, "ways": {"webhook": {"open": {}, "gone": {}, "digest_at": "now", "sent": []}}}',
     "[" * 100_000, "\x00" * 50, "9" * 2_000_000],
)  # fmt: skip
def test_a_damaged_file_is_said_so_and_begins_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "alerts.json"
    path.write_text(text)
    memory = Memory(path)
    problem = memory.load(now=START)
    assert problem is not None and "alerts.json is damaged" in problem
    assert memory.of("webhook") == Told()
    memory.keep("webhook", TOLD)
    memory.save()
    assert remembered(path) == TOLD


def test_a_clock_that_was_set_back_silences_nobody(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    memory = Memory(path)
    memory.keep("webhook", TOLD)
    memory.save()
    earlier = Instant(START - 10**12)
    assert memory.load(now=earlier) is None
    assert (memory.of("webhook").digest_at, memory.of("webhook").sent) == (earlier, (earlier, earlier))


def test_a_save_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    memory = Memory(path)
    memory.keep("webhook", TOLD)
    memory.save()
    (tmp_path / "alerts.json.new").mkdir()
    memory.keep("webhook", Told())
    with pytest.raises(OSError, match="directory"):
        memory.save()
    assert remembered(path) == TOLD
