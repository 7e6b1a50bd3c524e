"""A job that prepares pictures in a limited process, and nothing else."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy reads it when it is imported; who forks has one thread

from ingestd.normalizer import pictures
from ingestd.normalizer.exchange import Found
from ingestd.normalizer.sheets import Bounds

warm_up = pictures.warm_up


def job(request: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    """What became of the picture; its new bytes are in the output."""
    with open(inputs[0], "rb", closefd=False) as file:
        data = file.read()
    bounds = Bounds(
        types=frozenset(request["types"]),
        max_bytes=request["max_bytes"],
        max_pages=200,
        max_pixels=request["max_pixels"],
        level="full",
        strip_location=True,
    )
    try:
        draft = pictures.prepare_picture(data, request["mime_type"], bounds)
    except Found as found:
        return {"found": str(found.finding.problem)}
    if draft.data is not None:
        with open(outputs[0], "wb", closefd=False) as out:
            out.write(draft.data)
    return {
        "mime_type": draft.mime_type,
        "pages": draft.pages,
        "views": [view.size for view in draft.views],
    }
