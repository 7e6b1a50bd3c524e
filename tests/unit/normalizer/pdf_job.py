"""A job for limited processes: documents in, the PDF that was made of them out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ingestd import sniff
from ingestd.normalizer import documents, pictures
from ingestd.normalizer.exchange import Found
from ingestd.normalizer.sheets import Bounds
from tests.unit.normalizer.pdf_making import bounds


def work(request: Mapping[str, object], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    given = [_read(descriptor) for descriptor in inputs]
    limits = _bounds(request)
    try:
        if len(given) == 1:
            draft = documents.prepare_pdf(given[0], limits)
        else:
            draft = documents.merge([(sniff.sniff(data[:4096]), data) for data in given], limits)
    except Found as found:
        return {"found": str(found.finding.problem)}
    for output in outputs:
        view = memoryview(draft.data or b"")
        while view:
            view = view[os.write(output, view) :]
    return {
        "pages": draft.pages,
        "steps": [str(asdict(step)["what"]) for step in draft.steps],
        "views": len(draft.views),
    }


def warm_up() -> None:
    pictures.warm_up()
    documents.warm_up()


def _bounds(request: Mapping[str, object]) -> Bounds:
    max_bytes = request["max_bytes"]
    assert isinstance(max_bytes, int)
    return bounds(max_bytes=max_bytes, passwords=("secret",))


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()
