"""Open files: the daemon asks for as many as it may have, and takes in less at once where they are few.

A limit that is too low for what is configured is a mistake of the installation and is said at the start;
otherwise it would show as one file here and one connection there that can't be opened (EMFILE).
"""

import resource

from ingestd.domain.errors import ConfigurationError
from ingestd.settings import Settings

ENOUGH = 4096
"""More is never asked for, though the hard limit is often a million."""

WIDEST_INTAKE = 16
"""Arrivals of one source that are copied to the spool at the same time, where there is no lack."""

_ALWAYS = 24
"""Ledger (its reader too), run lock, event loop, log, fork servers, service manager, metrics, and what is
looked up or read back at the same time."""
_OF_A_FOLDER = 24
"""Itself and what is below it, its watch, and a directory for each of the files claimed together."""
_OF_A_MAILBOX = 8
"""Two connections, the answer that is sent, the token store."""
_OF_AN_UPLOAD = 1
_OF_A_LOOK = 2
"""The socket of a limited process, and a document; its other files come and go."""
_OF_AN_ARRIVAL = 2
"""The file and its copy."""


def allow_many() -> None:
    """Raise the soft limit of this process as far as it may be, up to ENOUGH."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def intake_width(settings: Settings) -> int:
    """How many arrivals of each source may be taken in at once, 1 to WIDEST_INTAKE, within the soft limit.

    Raises ConfigurationError when the limit is too low for even one.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return WIDEST_INTAKE
    sources = max(1, len(settings.folders) + len(settings.mailboxes))
    width = (soft - _without_intake(settings)) // (_OF_AN_ARRIVAL * sources)
    if width < 1:
        least = _without_intake(settings) + _OF_AN_ARRIVAL * sources
        raise ConfigurationError(
            [
                f"open files: this process may have {soft}, and needs {least} for this configuration; "
                "allow more (LimitNOFILE= in the unit, `ulimit -n` in a shell), or lower uploads.workers"
            ]
        )
    return min(width, WIDEST_INTAKE)


def _without_intake(settings: Settings) -> int:
    return (
        _ALWAYS
        + _OF_A_FOLDER * len(settings.folders)
        + _OF_A_MAILBOX * len(settings.mailboxes)
        + _OF_AN_UPLOAD * settings.uploads.workers
        + _OF_A_LOOK * settings.preparation.workers
    )
