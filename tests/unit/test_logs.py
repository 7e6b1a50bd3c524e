"""Logs: JSON lines where nobody looks at a terminal, one event with its fields, nothing empty."""

import json

import pytest

from ingestd.logs import Logs, Observers, open_logs
from ingestd.settings import LogSettings


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_events_are_json_with_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs = open_logs(LogSettings(format="auto"))
    logs.note("attempt.finished", level="warning", receipt="1", path="Müller.pdf", reason=None, image_id="")
    (line,) = lines(capsys)
    assert line["event"] == "attempt.finished"
    assert line["level"] == "warning"
    assert line["path"] == "Müller.pdf"
    assert "reason" not in line and "image_id" not in line
    assert str(line["timestamp"]).endswith("Z")


def test_a_file_name_can_not_break_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    open_logs(LogSettings(format="json")).note("receipt.accepted", path='a\n{"event": "forged"}')
    assert len(lines(capsys)) == 1


def test_the_level_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    logs = open_logs(LogSettings(level="warning", format="json"))
    logs.note("receipt.accepted")
    logs.note("gate.closed", level="warning")
    assert [line["event"] for line in lines(capsys)] == ["gate.closed"]


def test_a_traceback_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs = open_logs(LogSettings(format="json"))
    try:
        raise ValueError("broken")
    except ValueError:
        logs.note("attempt.broke", level="error", exc_info=True)
    (line,) = lines(capsys)
    assert "ValueError: broken" in str(line["exception"])


def test_the_console_format_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    open_logs(LogSettings(format="console")).note("run.started", version="1")
    assert "run.started" in capsys.readouterr().err


def test_several_observers_hear_the_same() -> None:
    heard: list[str] = []

    class Ear:
        def note(self, event: str, /, **_: object) -> None:
            heard.append(event)

    Observers(Ear(), Ear()).note("run.started")
    assert heard == ["run.started", "run.started"]
    assert isinstance(open_logs(LogSettings()), Logs)
