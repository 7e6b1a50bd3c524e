"""`ingestd doctor`: everything that can be wrong around ingestd, one line each, with what to do.

Servers are asked as the caller, who may read the secrets; files are tried as the owner of the storage.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from ingestd.cli.finding import Finding, Weight
from ingestd.cli.rendering import one_line, print_json
from ingestd.cli.session import ConfigOption, JsonOption, act_as_owner, with_reader
from ingestd.clock import process_clock
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.errors import IngestdError
from ingestd.domain.states import NEEDS_PERSON, SETTLED
from ingestd.interfaces import Balance, LedgerReader
from ingestd.offload.errors import OffloadBroken
from ingestd.settings import MEGABYTE, Settings

if TYPE_CHECKING:
    from ingestd.cli.examining_marks import Marked

MARKS: dict[Weight, str] = {"good": "✓", "warning": "!", "bad": "✗"}


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look at everything ingestd works with: configuration, targets, mailboxes, storage, folders, ledger.

    One line for each thing: ✓ is well, ! is worth a look, ✗ does not work, each with what to do. Uploads and
    sends nothing; where messages are to be moved to mailboxes that are missing, it makes those. The exit code
    is 1 when something does not work.

    \b
    ingestd doctor
    ingestd doctor --json | jq '.findings[] | select(.state != "good")'
    """
    settings = load_configuration(find_configuration(config))
    marked: list[Marked] = []
    findings = [*_configuration(settings), *asyncio.run(_servers(settings, marked.append))]
    act_as_owner(settings.storage.directory)
    findings += [*_storage(settings), *_folders(settings), *_processes(settings), *_ledger(settings)]
    findings += _marks(settings, marked)
    healthy = not any(finding.weight == "bad" for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [_as_json(finding) for finding in findings]})
    else:
        _tell(findings)
    raise typer.Exit(0 if healthy else 1)


def _configuration(settings: Settings) -> Iterator[Finding]:
    from ingestd.assembly import check_mail, check_passwords, check_secrets
    from ingestd.beside import check_alerts

    found = check_secrets(settings) + check_passwords(settings) + check_mail(settings)
    found += check_alerts(settings)
    for problem in found.problems:
        yield Finding(subject="configuration", what="keys", weight="bad", says=problem)
    for warning in found.warnings:
        yield Finding(subject="configuration", what="keys", weight="warning", says=warning)
    if not found.problems:
        count = f"{len(settings.targets)} target(s), {len(settings.folders)} folder(s), "
        count += f"{len(settings.mailboxes)} mailbox(es), {len(settings.routes)} route(s)"
        yield Finding(subject="configuration", what="keys", says=count)
    if settings.alerts is not None and not found.problems:
        yield _alerts(settings)


def _alerts(settings: Settings) -> Finding:
    from ingestd.beside import alert_ways

    ways = ", ".join(way.name for way in alert_ways(settings, process_clock()))
    return Finding(subject="alerts", what="who is told", says=f"{ways}; `ingestd alerts --test` tries it")


async def _servers(settings: Settings, tell_marked: "Callable[[Marked], None]") -> list[Finding]:
    from ingestd.assembly import ask_targets
    from ingestd.cli.examining import examine_mail
    from ingestd.cli.examining_logins import examine_logins

    problems = await ask_targets(settings)
    logins = [finding for _, finding in examine_logins(settings, process_clock()())]
    findings = []
    for name in settings.targets:
        findings += [finding for finding in logins if finding.subject == f"target {name}"]
        own = [problem for problem in problems if problem.startswith(f"targets.{name}: ")]
        subject = f"target {name}"
        findings += [
            Finding(subject=subject, what="answer", weight="bad", says=problem.split(": ", 1)[1])
            for problem in own
        ]
        if not own:
            findings.append(Finding(subject=subject, what="answer", says="answers, and takes the token"))
    return findings + await examine_mail(settings, tell_marked)


def _storage(settings: Settings) -> Iterator[Finding]:
    from ingestd.assembly import check_places
    from ingestd.storage import daemon_runs

    directory = settings.storage.directory
    found = check_places(settings, folders=False)
    for problem in found.problems:
        yield Finding(subject="storage", what="directory", weight="bad", says=problem)
    for warning in found.warnings:
        yield Finding(subject="configuration", what="keys", weight="warning", says=warning)
    if found.problems or not directory.exists():
        if not found.problems:
            yield Finding(
                subject="storage", what="directory", says=f"{directory} will be made by the first run"
            )
        return
    yield Finding(subject="storage", what="directory", says=f"{directory} can be used")
    yield _room(settings)
    runs = "is active" if daemon_runs(settings) else "is not active"
    yield Finding(subject="storage", what="run", says=f"`ingestd run` {runs} on it")


def _room(settings: Settings) -> Finding:
    state = os.statvfs(settings.storage.directory)
    free = state.f_bavail * state.f_frsize
    says = f"{free // MEGABYTE:,} MB are free"
    if free <= settings.storage.min_free:
        least = settings.storage.min_free // MEGABYTE
        fix = "make room, or lower storage.min_free"
        return Finding(
            subject="storage",
            what="room",
            weight="bad",
            says=f"{says}: intake waits below {least:,} MB",
            fix=fix,
        )
    return Finding(subject="storage", what="room", says=says)


def _folders(settings: Settings) -> Iterator[Finding]:
    from ingestd.sources.trouble import check_folder

    for folder in settings.folders:
        problems = check_folder(folder)
        for problem in problems:
            yield Finding(subject=f"folder {folder.name}", what="path", weight="bad", says=problem)
        if not problems:
            yield Finding(subject=f"folder {folder.name}", what="path", says=f"{folder.path} can be used")


def _processes(settings: Settings) -> Iterator[Finding]:
    """Whether limited processes start here, and which of their limits the kernel has."""
    from ingestd.assembly import new_offload

    subject, what = "limited processes", "start"
    try:
        with new_offload(settings) as offload:
            layers, notices = sorted(str(layer) for layer in offload.confinement), offload.notices
    except OffloadBroken as error:
        yield Finding(subject=subject, what=what, weight="bad", says=str(error))
        return
    yield Finding(subject=subject, what=what, says=f"they start, confined by {', '.join(layers)}")
    for notice in notices:
        yield Finding(subject=subject, what="limits", weight="warning", says=notice)
    if settings.mailboxes:
        yield _letters(settings)


def _letters(settings: Settings) -> Finding:
    """A run goes on without these; only messages that are the receipt themselves need them."""
    from ingestd.assembly import new_letters

    subject, what = "limited processes", "text of mails"
    letters = new_letters(settings)
    if letters is None:
        says, fix = "can't be made into PDFs: WeasyPrint isn't installed", "pip install 'ingestd[html]'"
        return Finding(subject=subject, what=what, weight="warning", says=says, fix=fix)
    try:
        with letters:
            return Finding(subject=subject, what=what, says="can be made into PDFs")
    except OffloadBroken as error:
        fix = "install Pango and fonts (libpango-1.0-0, libpangoft2-1.0-0, fonts-dejavu-core)"
        return Finding(
            subject=subject, what=what, weight="warning", says=f"can't be made into PDFs: {error}", fix=fix
        )


def _ledger(settings: Settings) -> Iterator[Finding]:
    from ingestd.storage import ledger_exists

    if not ledger_exists(settings):
        yield Finding(subject="ledger", what="books", says="there is none yet; the first run makes it")
        return

    async def ask(reader: LedgerReader) -> list[Finding]:
        return [*_books(await reader.balance())]

    try:
        yield from with_reader(settings, ask)
    except IngestdError as error:
        yield Finding(subject="ledger", what="books", weight="bad", says=str(error))


def _marks(settings: Settings, marked: "Sequence[Marked]") -> list[Finding]:
    """Of another ingestd, in our mailboxes. A ledger that can't be read was told of before."""
    from ingestd.cli.examining_marks import foreign_marks

    if not marked:
        return []
    try:
        return asyncio.run(foreign_marks(settings, marked))
    except IngestdError:
        return []


def _books(books: Balance) -> Iterator[Finding]:
    if not books.closed:
        fix = "see ingestd balance, and report it: this must not happen"
        yield Finding(subject="ledger", what="books", weight="bad", says="the books are not closed", fix=fix)
        return
    waiting = sum(count for state, count in books.states.items() if state not in SETTLED)
    yield Finding(
        subject="ledger", what="books", says=f"are closed: {books.receipts} receipt(s), {waiting} on the way"
    )
    people = sum(books.states[state] for state in NEEDS_PERSON)
    if people:
        yield Finding(
            subject="ledger",
            what="people",
            weight="warning",
            says=f"{people} receipt(s) need a person",
            fix="ingestd list --state held, rejected, failed or unconfirmed",
        )


def _as_json(finding: Finding) -> dict[str, str]:
    return {
        "subject": finding.subject,
        "what": finding.what,
        "state": finding.weight,
        "says": finding.says,
        "fix": finding.fix,
    }


def _tell(findings: list[Finding]) -> None:
    subject = ""
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            typer.echo(subject)
        typer.echo(f"  {MARKS[finding.weight]} {finding.what}: {one_line(finding.says)}")
        if finding.fix:
            typer.echo(f"      {one_line(finding.fix)}")
