"""The composition root: the only place that knows which implementation stands behind each protocol.

Also the checks that need the real rooms: tokens, folders, targets.
"""

import os
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ingestd import __version__
from ingestd.clock import process_clock
from ingestd.configfile import cautions
from ingestd.descriptors import intake_width
from ingestd.destinations.concur import ConcurImageV1
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.routing import PLACEHOLDER, Destined, Pages
from ingestd.http.oauth import OAuthTokens
from ingestd.http.tokens import problems as token_problems
from ingestd.http.tokens import read_password, read_secret
from ingestd.http.tokens import warnings as token_warnings
from ingestd.interfaces import Clock, Destination, LedgerReader, Observer, Source
from ingestd.ledger import SqlMailBook, open_ledger, open_reader
from ingestd.normalizer import JOB, normalizing
from ingestd.normalizer.letter_making import JOB as LETTERS_JOB
from ingestd.normalizer.mail_opening import LimitedMailOpener
from ingestd.offload.pool import Offload
from ingestd.pipeline import Flow, IntakeSettings, Pipeline, UpkeepSettings
from ingestd.pipeline.merging import Merging
from ingestd.pipeline.passwords import problems as password_problems
from ingestd.pipeline.passwords import warnings as password_warnings
from ingestd.pipeline.placing import unusable
from ingestd.replies import SmtpCorrespondent
from ingestd.settings import MEGABYTE, OAuthSettings, Secret, Settings
from ingestd.sources.folder import FolderSource
from ingestd.sources.mail.credentials import MailboxLogin
from ingestd.sources.mail.dns_keys import DnsKeys
from ingestd.sources.mail.judging import Doorkeeper
from ingestd.sources.mail.mailbox import MailboxSource
from ingestd.sources.trouble import check_folder
from ingestd.spool import Spool
from ingestd.storage import ledger_url, new_clock, open_spool, run_lock, storage_problem

LARGEST_OUTPUT_BYTES = 512 * MEGABYTE
"""Of a limited process: the members of an archive together (less, in the normalizer's words), or an image."""

ONLY_READER = "the one with the run lock"
"""Owns the leases of mailboxes on SQLite: after a crash nobody has to wait for a lease to run out."""

LETTERS_OF_A_WORKER = 20
"""A layout engine keeps caches; its process is made anew from time to time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything of one run."""

    pipeline: Pipeline
    reader: LedgerReader
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    clock: Clock
    version: str = __version__


# --- a run -------------------------------------------------------------------------------------------------


def new_offload(settings: Settings) -> Offload:
    """The limited processes; enter it before the event loop starts."""
    preparation = settings.preparation
    return Offload(
        JOB,
        workers=preparation.workers,
        memory_bytes=preparation.memory,
        cpu=preparation.cpu,
        wall=preparation.wall,
        output_bytes=LARGEST_OUTPUT_BYTES,
    )


def new_letters(settings: Settings) -> Offload | None:
    """The limited processes that make PDFs of mails; enter it before the event loop starts.

    None where there is nothing for them to do, or WeasyPrint isn't installed. It can also be there and not
    start (OffloadBroken), because Pango or fonts are missing: a run goes on without it then.
    """
    preparation = settings.preparation
    if not settings.mailboxes or find_spec("weasyprint") is None:
        return None
    return Offload(
        LETTERS_JOB,
        workers=1,
        memory_bytes=preparation.memory,
        cpu=preparation.cpu,
        wall=preparation.wall,
        jobs_per_worker=LETTERS_OF_A_WORKER,
        output_bytes=LARGEST_OUTPUT_BYTES,
    )


@asynccontextmanager
async def assemble(
    settings: Settings, observer: Observer, offload: Offload, letters: Offload | None = None
) -> AsyncIterator[House]:
    """A pipeline ready to run. Takes the run lock, creates and migrates the ledger.

    `letters`: as `new_letters` made it; without it, mails whose text is the receipt are rejected.

    Raises LedgerLocked when another ingestd runs on this storage, and what opening the ledger raises.
    """
    async with AsyncExitStack() as stack:
        spool = open_spool(settings)
        clock = new_clock(settings)
        stack.enter_context(run_lock(settings, clock))
        ledger = open_ledger(ledger_url(settings), migrate=True, spool_path=spool.path, alone=True)
        stack.push_async_callback(ledger.aclose)
        reader = open_reader(ledger_url(settings), spool_path=spool.path)
        stack.push_async_callback(reader.aclose)
        destinations = _destinations(settings, observer)
        for destination in destinations.values():
            stack.push_async_callback(destination.aclose)
        owner = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        merging = Merging(settings.routes, destinations)
        sources: dict[str, Source] = {
            folder.name: FolderSource(
                folder, clock=clock, observer=observer, group_of=partial(merging.group_of, folder.name)
            )
            for folder in settings.folders
        }
        mail = _MailRoom(
            opener=LimitedMailOpener(offload, spool),
            spool=spool,
            book=SqlMailBook(ledger, reader),
            owner=owner if settings.storage.ledger else ONLY_READER,
            clock=clock,
            observer=observer,
        )
        sources |= await mail.open(settings, stack)
        flow = Flow(
            ledger=ledger,
            reader=reader,
            spool=spool,
            normalizer=normalizing.PreparingNormalizer(offload, spool, settings.preparation, letters),
            destinations=destinations,
            rules={name: target.rules for name, target in settings.targets.items()},
            routes=settings.routes,
            observer=observer,
            clock=clock,
            owner=owner,
            upload_workers=settings.uploads.workers,
            prepare_workers=settings.preparation.workers * 2,
            grace=settings.uploads.grace,
            preparation=settings.preparation,
            upkeep=_upkeep(settings),
            intake=IntakeSettings(width=intake_width(settings)),
            exclusive=settings.storage.ledger is None,
            discreet=frozenset(mailbox.name for mailbox in settings.mailboxes),
        )
        yield House(
            pipeline=Pipeline(flow, sources),
            reader=reader,
            sources=sources,
            destinations=destinations,
            clock=clock,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _MailRoom:
    """What all mailboxes share."""

    opener: LimitedMailOpener
    spool: Spool
    book: SqlMailBook
    owner: str
    clock: Clock
    observer: Observer

    async def open(self, settings: Settings, stack: AsyncExitStack) -> dict[str, Source]:
        """A source for each mailbox, by name, to be closed by the stack."""
        correspondent = None
        own: tuple[str, ...] = ()
        if settings.smtp is not None:
            smtp = settings.smtp
            correspondent = SmtpCorrespondent(smtp, clock=self.clock, templates=smtp.templates)
            own = (smtp.sender,)
        keys = DnsKeys()
        sources: dict[str, Source] = {}
        for mailbox in settings.mailboxes:
            login = MailboxLogin(mailbox)
            stack.push_async_callback(login.aclose)
            source = MailboxSource(
                mailbox,
                credentials=login,
                refused=login.refused,
                spool=self.spool,
                opener=self.opener,
                book=self.book,
                doorkeeper=Doorkeeper(mailbox, settings.people, own),
                keys=keys,
                correspondent=correspondent,
                most_answers_per_hour=settings.smtp.most_per_hour if settings.smtp else 0,
                owner=self.owner,
                clock=self.clock,
                observer=self.observer,
            )
            stack.push_async_callback(source.aclose)
            sources[mailbox.name] = source
        return sources


def _destinations(settings: Settings, observer: Observer | None = None) -> dict[str, Destination]:
    return {
        name: ConcurImageV1(target, connections=settings.uploads.workers, observer=observer)
        for name, target in settings.targets.items()
    }


@asynccontextmanager
async def open_destination(settings: Settings, name: str) -> AsyncIterator[Destination]:
    """One target by its name, for a command that asks it something."""
    destination = _destinations(settings)[name]
    try:
        yield destination
    finally:
        await destination.aclose()


def _upkeep(settings: Settings) -> UpkeepSettings:
    return UpkeepSettings(keep=settings.storage.keep)


# --- checks -----------------------------------------------------------------------------------------------


def unusable_destination(settings: Settings, destined: Destined) -> str | None:
    """Why nothing can be sent there, as a sentence; None when it can."""
    return unusable(destined, _destinations(settings))


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems keep ingestd from working; warnings don't. Each names its key and the fix."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.problems + other.problems, self.warnings + other.warnings)


def check_secrets(settings: Settings) -> Findings:
    """Whether this user can read every token, and whether others can."""
    problems: list[str] = []
    warnings: list[str] = []
    for key, secret, read in (*_target_secrets(settings), *_mail_secrets(settings)):
        problems += [f"{key}: {problem}" for problem in token_problems(secret, read)]
        warnings += [f"{key}: {warning}" for warning in token_warnings(secret)]
    return Findings(tuple(problems), tuple(warnings))


def check_mail(settings: Settings) -> Findings:
    """Whether everything of the mailboxes and of the answers is there, as far as no server is asked."""
    problems: list[str] = []
    for number, mailbox in enumerate(settings.mailboxes, 1):
        problems += _ca_problems(f"mailboxes[{number}].ca_file", mailbox.ca_file)
        if mailbox.oauth is not None:
            lacking = OAuthTokens(mailbox.oauth, name=mailbox.name).check()
            problems += [] if lacking is None else [f"mailboxes[{number}].oauth: {lacking}"]
    if settings.smtp is not None:
        problems += _ca_problems("smtp.ca_file", settings.smtp.ca_file)
        try:
            SmtpCorrespondent(settings.smtp, clock=process_clock(), templates=settings.smtp.templates)
        except ConfigurationError as error:
            problems += [p if p.startswith("smtp.") else f"smtp.templates: {p}" for p in error.problems]
    return Findings(tuple(problems), tuple(cautions(settings)))


def check_passwords(settings: Settings) -> Findings:
    """The same for files of passwords. A run does without one that is missing, and says so when it looks."""
    problems: list[str] = []
    warnings: list[str] = []
    for key, path in _password_files(settings):
        problems += [f"{key}: {problem}" for problem in password_problems(path)]
        warnings += [f"{key}: {warning}" for warning in password_warnings(path)]
    return Findings(tuple(problems), tuple(warnings))


def check_places(settings: Settings, *, folders: bool) -> Findings:
    """Whether this user can work in the storage directory and the folders.

    `folders`: an absent folder is a problem too; the daemon waits for it, `check` and one-off runs don't.
    """
    problems = _storage_problems(settings.storage.directory)
    warnings: list[str] = []
    if folders:
        for number, folder in enumerate(settings.folders, 1):
            problems += [f"folders[{number}].path: {problem}" for problem in check_folder(folder)]
    if not settings.targets:
        warnings.append("targets: there is none, so nothing can be uploaded")
    if settings.folders and not settings.routes:
        warnings.append("routes: there is none, so every file will be held; add one with send = …")
    warnings += _pages_warnings(settings)
    return Findings(tuple(problems), tuple(warnings))


async def ask_targets(settings: Settings) -> list[str]:
    """What each target has to complain of, without uploading anything."""
    problems: list[str] = []
    for name, destination in _destinations(settings).items():
        try:
            problems += [f"targets.{name}: {problem}" for problem in await destination.check()]
        finally:
            await destination.aclose()
    return problems


def _storage_problems(directory: Path) -> list[str]:
    # os.path and not pathlib: below a directory this user may not enter, nothing exists; that is no crash.
    nearest = next(path for path in (directory, *directory.parents) if os.path.exists(path))  # noqa: PTH110
    if not nearest.is_dir():
        return [f"storage.directory {directory}: {nearest} is not a directory"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [storage_problem(directory, PermissionError(0, f"{nearest} is not writable for this user"))]
    return []


def _target_secrets(settings: Settings) -> Iterator[tuple[str, Secret, Callable[[Secret], str]]]:
    """Like `_mail_secrets`. `cli.examining_logins` looks after logins, whose first token may be gone."""
    told: set[Secret] = set()
    for target in settings.targets.values():
        key = f"targets.{target.name}"
        logins = {key: target.oauth or target.token}
        logins |= {f"{key}.accounts.{account}": login for account, login in target.accounts.items()}
        for place, login in logins.items():
            match login:
                case Secret():
                    yield _secret_key(place, login), login, read_secret
                case OAuthSettings(client_secret=Secret() as secret) if secret not in told:
                    told.add(secret)  # accounts share the client
                    yield f"{place}.oauth.client_secret_file", secret, read_secret


def _mail_secrets(settings: Settings) -> Iterator[tuple[str, Secret, Callable[[Secret], str]]]:
    """Each with its key and how it is read. A refresh token may be gone: `check_mail` looks after logins."""
    for number, mailbox in enumerate(settings.mailboxes, 1):
        key = f"mailboxes[{number}]"
        if mailbox.password is not None:
            yield f"{key}.password_file" if mailbox.password.file else key, mailbox.password, read_password
        if mailbox.oauth is not None and mailbox.oauth.client_secret is not None:
            yield f"{key}.oauth.client_secret_file", mailbox.oauth.client_secret, read_secret
    if settings.smtp is not None and settings.smtp.password is not None:
        key = "smtp.password_file" if settings.smtp.password.file else "smtp"
        yield key, settings.smtp.password, read_password


def _ca_problems(key: str, path: Path | None) -> list[str]:
    """Of a file of certificates, as the connection will read it."""
    if path is None:
        return []
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return [f"{key}: {path} holds no certificate; it needs those of the authorities, as PEM"]
    except OSError as error:
        return [f"{key}: {path} can't be read: {error.strerror}"]
    return []


def _secret_key(key: str, secret: Secret) -> str:
    return f"{key}.token_file" if secret.file else key


def _password_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Each with its key; a file that several routes name is told once."""
    seen: set[Path] = set()
    files = {f"routes[{n}].passwords_file": r.passwords_file for n, r in enumerate(settings.routes, 1)}
    files["preparation.passwords_file"] = settings.preparation.passwords_file
    for key, path in files.items():
        if path is not None and path not in seen:
            seen.add(path)
            yield key, path


def _pages_warnings(settings: Settings) -> Iterator[str]:
    destinations = _destinations(settings)
    for number, route in enumerate(settings.routes, 1):
        destined = Destined.parse(PLACEHOLDER.sub("x", route.send))
        if route.pages is Pages.SEPARATE and destinations[destined.target].limits(destined.slot).one_image:
            yield (
                f'routes[{number}].pages: "separate", but {destined.slot.kind} takes one image, so every '
                'further page will be held; write "merge"'
            )
