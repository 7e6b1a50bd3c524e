"""What alerts need of what is only said once, by the stages to their observer."""

from ingestd.interfaces import Level

_ANSWERS = frozenset({"uploaded", "refused", "pending"})
"""Outcomes that show a target at work."""


class Hearing:
    """An Observer. Keeps one entry for each target and each part of the program."""

    def __init__(self) -> None:
        self.answered: set[str] = set()
        """Targets that answered an upload since the start."""
        self.lacking: dict[str, str] = {}
        """What could not be started, and why."""

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        match event:
            case "attempt.finished" if fields.get("outcome") in _ANSWERS:
                self.answered.add(str(fields.get("destined", "")).partition(":")[0])
            case "letters.unavailable":
                self.lacking["letters"] = str(fields.get("reason", ""))
            case _:
                pass
