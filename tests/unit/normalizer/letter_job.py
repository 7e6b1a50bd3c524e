"""The limited processes of letters, which also try what a layout engine that was taken over would."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingestd.normalizer.letter_work import letter, prove, readable, warm_up
from tests.unit.offload import jobs

__all__ = ["job", "prove", "readable", "warm_up"]


def job(request: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    return jobs.job(dict(request), inputs, outputs) if "do" in request else letter(request, inputs, outputs)
