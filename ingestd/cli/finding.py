"""What was found when something was looked at: well, worth a look, or not working, and what to do."""

from dataclasses import dataclass
from typing import Literal

Weight = Literal["good", "warning", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`subject` is what was looked at, `what` the thing about it, `says` how it is, `fix` what to do."""

    subject: str
    what: str
    weight: Weight = "good"
    says: str
    fix: str = ""

    @property
    def sentence(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.subject}: {self.what}: {self.says}{fix}"
