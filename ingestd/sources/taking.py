"""Taking files that rested, and finding claims again that a crash left. Blocking.

All files of one arrival are taken or none is. A claim of several that lacks one, and was not acknowledged,
never becomes an arrival: its files go back to the others in the folder.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ingestd.domain.grouping import natural_key
from ingestd.sources.claims import SIDECARS, Claim, ClaimedFile, remove_empty_tree
from ingestd.sources.filesystem import Directory, rename, signature, split_path
from ingestd.sources.manifest import COMMITTED, OPEN, Manifest
from ingestd.sources.opening import OpenFolder
from ingestd.sources.settling import Ready

_ARRIVAL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OURS = frozenset({SIDECARS, OPEN, COMMITTED})


@dataclass(slots=True)
class Taken:
    """What became of a batch: claims, and what could not be taken with the reason (path to sentence).

    `stuck` are claims that could be neither completed nor undone; they have to go back later.
    """

    claims: list[Claim] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    stuck: list[Claim] = field(default_factory=list)


def take(folder: OpenFolder, batch: Sequence[Ready], new_id: Callable[[], str]) -> Taken:
    """Claim what rested. The claims are durable when this returns. Raises OSError if they can't be.

    One fsync of each directory for the whole batch: without them a power cut could bring a file back to its
    old place after the ledger has it, and it would come again as another arrival.
    """
    taken = Taken()
    touched: dict[int, Directory] = {}
    for ready in batch:
        claim = _claim(folder, ready, new_id())
        try:
            if _take(claim, touched):
                taken.claims.append(claim)
                continue
        except _CannotMove as problem:
            if not isinstance(problem.cause, FileNotFoundError):
                taken.blocked[problem.path] = _advice(problem.cause)
        try:
            claim.put_back()
        except OSError:
            taken.stuck.append(claim)
    for directory in touched.values():
        directory.sync()
    if touched:
        folder.claimed.sync()
    return taken


def left_over(folder: OpenFolder) -> list[str]:
    """Arrival IDs of the claims in the folder, oldest first."""
    return sorted(name for name in folder.claimed.names() if _ARRIVAL_ID.fullmatch(name))


def is_listed(folder: OpenFolder, arrival_id: str) -> bool:
    """Whether this claim is one of several files. Raises OSError."""
    try:
        directory = folder.claimed.child(arrival_id)
    except FileNotFoundError:
        return False
    return directory.look(OPEN) is not None or directory.look(COMMITTED) is not None


def find_again(folder: OpenFolder, arrival_id: str) -> Claim | None:
    """The claim of this ID as a crash left it; None when there is no file in it (it is cleared away).

    It is `returning` when only a part of its files was ever taken, or some were put back already.
    """
    try:
        directory = folder.claimed.child(arrival_id)
    except FileNotFoundError:
        return None
    listed = Manifest.read(directory)
    claim = _as_found(folder, arrival_id, directory)
    if listed is not None:
        claim = _as_listed(claim, listed)
        if not claim.files and claim.committed:
            claim.remove()
            return None
        return claim
    if claim.files:
        return claim
    claim.put_back()
    remove_empty_tree(folder.claimed, arrival_id)
    return None


# --- taking


class _CannotMove(Exception):
    def __init__(self, path: str, cause: OSError) -> None:
        self.path, self.cause = path, cause
        super().__init__(path)


def _claim(folder: OpenFolder, ready: Ready, arrival_id: str) -> Claim:
    """What the claim will be. One file with one sidecar needs no manifest: it is there or it is not."""
    files = tuple(
        ClaimedFile(
            arrival=arrival_id,
            folder=folder,
            path=settled.path,
            signature=settled.look.signature,
            sidecar=settled.sidecar,
        )
        for settled in ready.files
    )
    claim = Claim(id=arrival_id, folder=folder, files=files, shared=ready.shared, hold=ready.hold)
    if len(files) == len(claim.sidecars) == 1:
        files[0].sidecar, claim.shared = claim.sidecars[0], ()
    claim.listed = len(files) > 1 or len(claim.sidecars) > 1 or claim.hold is not None
    return claim


def _take(claim: Claim, touched: dict[int, Directory]) -> bool:
    """False when a file is not the one that rested any more. Raises _CannotMove."""
    folder, path = claim.folder, claim.path
    try:
        top = folder.claimed.make(claim.id)
        if claim.listed:
            files = tuple((file.path, file.sidecar) for file in claim.files)
            Manifest(files=files, shared=claim.shared, hold=claim.hold).write(top)
            folder.claimed.sync()
        for sidecar in claim.shared:
            _move(folder.root, top, [SIDECARS], sidecar, touched)
        for file in claim.files:
            path = file.path
            if file.sidecar is not None:
                _move(folder.root, top, [SIDECARS], file.sidecar, touched)
            _move(folder.root, top, [], file.path, touched)
        return all(_is_the_one(file) for file in claim.files)
    except OSError as error:
        raise _CannotMove(path, error) from error


def _move(
    root: Directory, top: Directory, below: Sequence[str], path: str, touched: dict[int, Directory]
) -> None:
    parents, name = split_path(path)
    origin = root.below(parents)
    target = top
    touched[top.stat().st_ino] = top
    for part in (*below, *parents):
        target = target.make(part)
        touched[target.stat().st_ino] = target
    rename(origin, name, target, name)
    touched[origin.stat().st_ino] = origin


def _is_the_one(file: ClaimedFile) -> bool:
    directory, name = file.where()
    found = directory.look(name)
    return found is not None and stat.S_ISREG(found.st_mode) and file.matches(found)


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EXDEV:
            return "it is on another file system; list that directory as a folder of its own"
        case errno.EACCES | errno.EPERM:
            return "it can't be moved; allow the user of ingestd to write to its directory"
        case _:
            return error.strerror or str(error)


# --- finding again


def _as_found(folder: OpenFolder, arrival_id: str, directory: Directory) -> Claim:
    """All that is there, without a manifest: one file and its sidecar, or what is left of several."""
    files = [
        ClaimedFile(
            arrival=arrival_id, folder=folder, path=path, signature=signature(found, inodes=folder.inodes)
        )
        for path, found in _files(directory, skip=_OURS)
    ]
    files.sort(key=lambda file: natural_key(file.path))
    sidecars: list[str] = []
    with suppress(FileNotFoundError):
        sidecars = [path for path, _ in _files(directory.child(SIDECARS))]
    if len(files) == len(sidecars) == 1:
        files[0].sidecar = sidecars.pop()
    return Claim(id=arrival_id, folder=folder, files=tuple(files), shared=tuple(sidecars))


def _as_listed(found: Claim, listed: Manifest) -> Claim:
    """What was found, in the order of the manifest. What is not in it can only be there if it was torn."""
    files = {file.path: file for file in found.files}
    sidecars = set(found.sidecars)
    listed_files = [path for path, _ in listed.files if path in files]
    own = {path: sidecar for path, sidecar in listed.files if sidecar in sidecars}
    for path, file in files.items():
        file.sidecar = own.get(path)
    rest = sidecars - {file.sidecar for file in files.values()}
    wanted = {*listed.shared, *(sidecar for _, sidecar in listed.files if sidecar is not None)}
    complete = listed.whole and len(listed_files) == len(listed.files) and wanted <= sidecars
    return Claim(
        id=found.id,
        folder=found.folder,
        files=tuple(files[path] for path in dict.fromkeys([*listed_files, *files])),
        shared=tuple(dict.fromkeys([*(path for path in listed.shared if path in rest), *sorted(rest)])),
        hold=listed.hold,
        listed=True,
        committed=listed.committed,
        returning=not complete and not listed.committed,
    )


def _files(
    directory: Directory, *, skip: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result]]:
    """The relative paths of the regular files below."""
    for name in sorted(directory.names()):
        found = directory.look(name)
        if name in skip or found is None:
            continue
        if stat.S_ISREG(found.st_mode):
            yield name, found
        elif stat.S_ISDIR(found.st_mode):
            for path, below in _files(directory.child(name)):
                yield f"{name}/{path}", below
