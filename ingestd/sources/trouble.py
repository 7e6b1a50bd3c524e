"""What can be wrong with a watched folder, as sentences that name the path and the fix; and the offline check
that looks for all of it at once.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ingestd.settings import FolderSettings
from ingestd.sources.junk import OWN_DIRECTORY, REJECTED, UPLOADED


def advice(path: Path, error: OSError) -> str:
    """One sentence for a person about a folder that can't be used just now."""
    match error.errno:
        case errno.ENOENT:
            return f"The folder {path} is not there; create it, or mount what belongs there."
        case errno.ENOTDIR:
            return f"{path} is not a directory; give the path of a directory."
        case errno.EACCES | errno.EPERM:
            return f"The folder {path} can't be used; allow {_who()} to read, write and enter it."
        case errno.EROFS:
            return f"The folder {path} is read-only; mount it for writing."
        case errno.ELOOP:
            return (
                f"One of {OWN_DIRECTORY}, {UPLOADED} and {REJECTED} in {path} is a link; remove it, "
                "they must be real directories."
            )
        case errno.ENOSPC | errno.EDQUOT:
            return f"No room left where the folder {path} is; make room there."
        case _:
            return f"The folder {path} can't be used: {error.strerror or error}."


def in_use(path: Path) -> str:
    return f"Another ingestd watches {path}; stop it, or give each one a folder of its own."


def unmounted(path: Path) -> str:
    return f"The folder {path} is suddenly empty and on another file system: mount what belongs there again."


def blocked(reasons: Mapping[str, str]) -> str:
    """`reasons`: path below the folder -> what is wrong with it."""
    path, reason = next(iter(reasons.items()))
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    more = f" (and {len(reasons) - 1} more like it)" if len(reasons) > 1 else ""
    return f"{shown!r}{more} can't be taken and waits: {reason}; allow {_who()} to read and move it."


def check_folder(settings: FolderSettings) -> list[str]:
    """Everything that would keep this folder from working, each with its key and the fix. Changes nothing."""
    key = f"folders.{settings.name}.path"
    path = settings.path
    try:
        found = path.stat()
    except OSError as error:
        return [f"{key}: {advice(path, error)}"]
    if not stat.S_ISDIR(found.st_mode):
        return [f"{key}: {path} is not a directory; give the path of a directory."]
    return [f"{key}: {problem}" for problem in _problems(settings, found)]


def _problems(settings: FolderSettings, found: os.stat_result) -> Iterator[str]:
    path = settings.path
    lacking = _lacking(path)
    if lacking:
        yield f"{path}: {_who()} may not {lacking} it; allow it with chown, chmod or setfacl."
        return
    if found.st_mode & stat.S_ISVTX and os.geteuid() not in (0, found.st_uid):
        yield (
            f"{path} is sticky, so {_who()} can't move other people's files out of it; "
            f"remove that with chmod -t {path}, or make {_who()} its owner."
        )
    wanted = {OWN_DIRECTORY: True, UPLOADED: settings.uploaded, REJECTED: settings.rejected}
    for name in (name for name, used in wanted.items() if used):
        yield from _own_directory_problems(path / name, found.st_dev)


def _own_directory_problems(path: Path, device: int) -> Iterator[str]:
    """One of ours that is already there; one that is absent can be made, as its parent is writable."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        yield f"{path} is not a directory, but ingestd needs one of this name; move it away."
    elif lacking := _lacking(path):
        yield f"{path}: {_who()} may not {lacking} it; allow it with chown or chmod."
    elif found.st_dev != device:
        yield f"{path} is on another file system than {path.parent}; unmount it, files are moved by renaming."


def _lacking(path: Path) -> str:
    """ "read, write and enter", as far as this user may not."""
    wanted = (("read", os.R_OK), ("write to", os.W_OK), ("enter", os.X_OK))
    missing = [word for word, mode in wanted if not os.access(path, mode, effective_ids=True)]
    return " or ".join(missing)


def _who() -> str:
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user with ID {os.geteuid()}"
