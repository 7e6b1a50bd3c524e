"""Writing to the output files of a limited process."""

import errno
import os

from ingestd.normalizer.exchange import OutputFull

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def write(descriptor: int, data: bytes) -> None:
    """All of it. Raises OutputFull when the disk is full, OSError for whatever else."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutputFull from error
        raise
