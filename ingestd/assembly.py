"""The composition root: the only place that knows which implementation stands behind each protocol.

Also the checks that need the real rooms: tokens, folders, targets.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ingestd import __version__
from ingestd.clock import process_clock
from ingestd.destinations.concur import ConcurImageV1
from ingestd.domain.routing import PLACEHOLDER, Destined, Pages
from ingestd.http.tokens import problems as token_problems
from ingestd.http.tokens import warnings as token_warnings
from ingestd.interfaces import Destination, LedgerReader, Observer, Source
from ingestd.ledger import open_ledger, open_reader
from ingestd.normalizer import JOB, normalizing
from ingestd.offload.pool import Offload
from ingestd.pipeline import Flow, Pipeline, UpkeepSettings
from ingestd.pipeline.merging import Merging
from ingestd.pipeline.passwords import problems as password_problems
from ingestd.pipeline.passwords import warnings as password_warnings
from ingestd.pipeline.placing import unusable
from ingestd.settings import MEGABYTE, Secret, Settings
from ingestd.sources.folder import FolderSource
from ingestd.sources.trouble import check_folder
from ingestd.storage import ledger_url, open_spool, run_lock, storage_problem

LARGEST_OUTPUT_BYTES = 512 * MEGABYTE
"""Of a limited process: the members of an archive together (less, in the normalizer's words), or an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything of one run."""

    pipeline: Pipeline
    reader: LedgerReader
    sources: Mapping[str, Source]
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


@asynccontextmanager
async def assemble(settings: Settings, observer: Observer, offload: Offload) -> AsyncIterator[House]:
    """A pipeline ready to run. Takes the run lock, creates and migrates the ledger.

    Raises LedgerLocked when another ingestd runs on this storage, and what opening the ledger raises.
    """
    async with AsyncExitStack() as stack:
        spool = open_spool(settings)
        stack.enter_context(run_lock(settings))
        ledger = open_ledger(ledger_url(settings), migrate=True, spool_path=spool.path, alone=True)
        stack.push_async_callback(ledger.aclose)
        reader = open_reader(ledger_url(settings), spool_path=spool.path)
        stack.push_async_callback(reader.aclose)
        destinations = _destinations(settings)
        for destination in destinations.values():
            stack.push_async_callback(destination.aclose)
        clock = process_clock()
        merging = Merging(settings.routes, destinations)
        sources: dict[str, Source] = {
            folder.name: FolderSource(
                folder, clock=clock, observer=observer, group_of=partial(merging.group_of, folder.name)
            )
            for folder in settings.folders
        }
        flow = Flow(
            ledger=ledger,
            reader=reader,
            spool=spool,
            normalizer=normalizing.PreparingNormalizer(offload, spool, settings.preparation),
            destinations=destinations,
            policies={name: target.retry for name, target in settings.targets.items()},
            routes=settings.routes,
            observer=observer,
            clock=clock,
            owner=f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            upload_workers=settings.uploads.workers,
            prepare_workers=settings.preparation.workers * 2,
            grace=settings.uploads.grace,
            preparation=settings.preparation,
            upkeep=_upkeep(settings),
            exclusive=settings.storage.ledger is None,
        )
        yield House(pipeline=Pipeline(flow, sources), reader=reader, sources=sources)


def _destinations(settings: Settings) -> dict[str, Destination]:
    return {
        name: ConcurImageV1(target, connections=settings.uploads.workers)
        for name, target in settings.targets.items()
    }


def _upkeep(settings: Settings) -> UpkeepSettings:
    retried = (name for name, target in settings.targets.items() if target.on_unconfirmed == "retry")
    return UpkeepSettings(keep=settings.storage.keep, retry_unconfirmed=frozenset(retried))


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
    for target in settings.targets.values():
        secrets = {f"targets.{target.name}": target.token}
        secrets |= {f"targets.{target.name}.accounts.{a}": secret for a, secret in target.accounts.items()}
        for key, secret in secrets.items():
            if secret is not None:
                problems += [f"{_secret_key(key, secret)}: {p}" for p in token_problems(secret)]
                warnings += [f"{_secret_key(key, secret)}: {w}" for w in token_warnings(secret)]
    return Findings(tuple(problems), tuple(warnings))


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
