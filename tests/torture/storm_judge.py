"""The judge of a storm, in which an upload may rightly end in doubt, or fail for a cause that is told.

It believes the target and the folder first; the ledger file is read with nothing but sqlite3.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.place import Place, SandboxProcess
from tests.torture.drops import ONE_IMAGE, Dropped
from tests.torture.judge import ledger_copy

CAUSES = (
    r"Concur answered [2345]\d\d",
    r"already has an image",
    r"has an image now",
    r"can't be looked up",
    r"All was sent, then|answer (of the target )?was lost|without an answer",
    r"stopped while",
    r"Given up after \d+",
)
"""What a storm may give as a reason. An internal error is none of these."""

_Rows = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Findings:
    """`problems`: what may never be, one sentence each. All else is counted, some of it by kind of slot."""

    problems: list[str] = field(default_factory=list)
    images: int = 0
    doubles: int = 0
    states: Counter[str] = field(default_factory=Counter)
    doubted: Counter[str] = field(default_factory=Counter)
    """Receipts that were unconfirmed at any time."""
    left: Counter[str] = field(default_factory=Counter)
    """Those that still are."""
    resolved: Counter[str] = field(default_factory=Counter)
    """How doubts ended: "confirm expenseentry"."""
    reasons: Counter[str] = field(default_factory=Counter)
    requests: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = {
            "states": self.states,
            "ever unconfirmed": self.doubted,
            "still unconfirmed": self.left,
            "doubts ended by": self.resolved,
            "reasons": self.reasons,
        }
        lines = [f"{name}: {json.dumps(dict(sorted(count.items())))}" for name, count in counts.items()]
        first = f"{self.images} images, {self.doubles} doubles, {len(self.problems)} problems"
        return "\n  ".join([first, *lines, f"requests: {json.dumps(self.requests)}"])

    def demand_nothing_wrong(self) -> None:
        shown = "\n".join(self.problems[:30])
        assert not self.problems, f"{self}\n{shown}"


@dataclass(frozen=True, slots=True)
class _Told:
    """What the program says of one receipt: its line of `list --json`, and its history from the ledger."""

    receipt: Mapping[str, Any]
    history: _Rows

    @property
    def doubts(self) -> int:
        """How often it became unconfirmed."""
        return sum(row["after"] == "unconfirmed" != row["before"] for row in self.history)

    @property
    def kind(self) -> str:
        return str(self.receipt["slot"]).partition("/")[0]

    def __str__(self) -> str:
        return f"{self.receipt['id']} ({self.receipt['path']}, {self.receipt['state']})"


def judge_storm(
    place: Place, sandbox: SandboxProcess, dropped: Collection[Dropped], *, on_unconfirmed: str
) -> Findings:
    """After the calm, when a run to idle has ended. With "hold" nothing at all may be there twice."""
    findings = Findings()
    images = sandbox.images()
    held = Counter((image["place"], image["sha256"]) for image in images)
    names = {(image["place"], image["sha256"], image["image_id"]) for image in images}
    told = _told(place, findings)
    findings.images = held.total()
    findings.doubles = sum(count - 1 for count in held.values())
    findings.requests = {k: v for k, v in sandbox.requests().items() if k in ("total", "by_status", "leaks")}
    if findings.requests["leaks"]:
        findings.problems.append(f"a token came {findings.requests['leaks']} times where none belongs")
    _judge_files(findings, place, dropped, told)
    _judge_images(findings, held, told, dropped, again=on_unconfirmed == "retry")
    for key, each in told.items():
        _judge_receipt(findings, each, held[key], named=(*key, each.receipt["image_id"]) in names)
        _judge_doubts(findings, each)
    _judge_books(findings, place, len(dropped))
    return findings


def _told(place: Place, findings: Findings) -> dict[tuple[str, str], _Told]:
    """By slot and sha256 of the file."""
    with ledger_copy(place) as ledger:
        names = ("receipt_id", "version", "event", "before", "after", "reason")
        rows: dict[str, list[Mapping[str, Any]]] = {}
        for row in ledger.execute(f"SELECT {', '.join(names)} FROM history ORDER BY receipt_id, version"):  # noqa: S608 - the names above
            rows.setdefault(row[0], []).append(dict(zip(names, row, strict=True)))
    found: dict[tuple[str, str], _Told] = {}
    for receipt in place.receipts():
        key = receipt["slot"], receipt["sha256"]
        if key in found:
            findings.problems.append(f"there are two receipts for {receipt['path']}")
        found[key] = _Told(receipt, rows[receipt["id"]])
    return found


def _judge_files(
    findings: Findings,
    place: Place,
    dropped: Collection[Dropped],
    told: Mapping[tuple[str, str], _Told],
) -> None:
    """Each file is known, and lies whole where its sender looks for it; with a reason if not uploaded."""
    for each in dropped:
        known = told.get(each.receipt)
        if known is None:
            findings.problems.append(f"lost: {each.path} is not in the ledger")
            continue
        uploaded = known.receipt["state"] == "uploaded"
        path = place.inbox / ("uploaded" if uploaded else "rejected") / each.path
        if not path.exists() or path.read_bytes() != each.content:
            findings.problems.append(f"lost: {known} does not lie in {path.parent}")
        elif not uploaded:
            note = path.with_name(f"{path.name}.reason.txt")
            if not note.exists() or not _names_a_cause(note.read_text()):
                findings.problems.append(f"silent: {known} has no reason beside it")


def _judge_images(
    findings: Findings,
    held: Counter[tuple[str, str]],
    told: Mapping[tuple[str, str], _Told],
    dropped: Collection[Dropped],
    *,
    again: bool,
) -> None:
    """Only what was dropped; once, or as often as it was in doubt where that may be sent again."""
    allowed = {each.receipt for each in dropped}
    findings.problems += [f"forged: the target holds {key}" for key in held.keys() - allowed]
    for key, count in held.items():
        known = told.get(key)
        most = 1
        if again and known is not None and not key[0].startswith(ONE_IMAGE):
            most += known.doubts
        if count > most:
            findings.problems.append(f"doubled: {key[0]} has {known} {count} times")
    singles = Counter(slot for slot, _ in held.elements() if slot.startswith(ONE_IMAGE))
    findings.problems += [f"doubled: {slot} has {n} images" for slot, n in singles.items() if n > 1]


def _judge_receipt(findings: Findings, each: _Told, held: int, *, named: bool) -> None:
    """Uploaded: the target has it under this image ID. Else it says why, and was in doubt if it is there."""
    state = each.receipt["state"]
    findings.states[state] += 1
    if state == "uploaded":
        if not named:
            findings.problems.append(f"lost: the target has no image {each.receipt['image_id']} of {each}")
        return
    reason = each.receipt["reason"] or ""
    findings.reasons[f"{state} {each.kind}: {_without_numbers(reason)}"] += 1
    if state not in ("failed", "unconfirmed"):
        findings.problems.append(f"lost: {each} is left as it is")
    elif not _names_a_cause(reason):
        findings.problems.append(f"silent: {each} says {reason!r}")
    elif held and not each.doubts:
        findings.problems.append(f"untrue: {each} is in the target and was never in doubt")


def _judge_doubts(findings: Findings, each: _Told) -> None:
    """A doubt ends with its evidence; of a slot that can be read none is left."""
    if not each.doubts:
        return
    findings.doubted[each.kind] += 1
    readable = each.receipt["slot"].startswith(ONE_IMAGE)
    for row in each.history:
        if row["before"] == "unconfirmed" != row["after"]:
            findings.resolved[f"{row['event']} {each.kind}"] += 1
            if not row["reason"] or (readable and "was asked" not in row["reason"]):
                findings.problems.append(
                    f"without evidence: {each}, version {row['version']}: {row['reason']}"
                )
    if each.receipt["state"] == "unconfirmed":
        findings.left[each.kind] += 1
        if readable:
            findings.problems.append(f"not asked: {each}: {each.receipt['reason']}")


def _judge_books(findings: Findings, place: Place, dropped: int) -> None:
    books = place.balance()
    if not books["closed"]:
        findings.problems.append(f"the books are not closed: {books}")
    if books["seen"] != dropped or books["receipts"] != dropped:
        findings.problems.append(f"{dropped} files were dropped, the books say {books}")
    audit = place.ingestd("audit", expect=None, timeout=300)
    if audit.returncode:
        findings.problems.append(f"the audit says: {audit.stdout}{audit.stderr}")


def _names_a_cause(reason: str) -> bool:
    return any(re.search(cause, reason) for cause in CAUSES)


def _without_numbers(reason: str) -> str:
    return re.sub(r"(expenseentry|invoice|report)/\S+|\b[0-9a-fA-F-]{8,}\b|\d{3,}", "…", reason)[:110]
