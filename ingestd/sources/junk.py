"""Names that are never receipts: half-written files, and what systems and storage boxes leave behind.

Only the name decides here, so that a scan needs no look at the file. Matching ignores case.
"""

OWN_DIRECTORY = ".ingestd"
UPLOADED = "uploaded"
REJECTED = "rejected"
OWN = frozenset({OWN_DIRECTORY, UPLOADED, REJECTED})
"""Our own directories, at the root of a watched folder only."""

_PARTIAL_ENDINGS = (
    "~",
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".filepart",
    ".opdownload",
    ".!ut",
    ".swp",
    ".lock",
)
_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "lost+found",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "recycler",
        "icon\r",
    }
)


def is_junk(name: str) -> bool:
    """Whether a file or directory of this name is passed over: hidden, unfinished, or not made by people."""
    folded = name.casefold()
    return name.startswith((".", "~$")) or folded.endswith(_PARTIAL_ENDINGS) or folded in _NAMES
