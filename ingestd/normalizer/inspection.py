"""The job of the limited processes: is this document sound? In: an open file. Out: a Sound or a Finding.

After `warm_up` nothing is imported and no file is opened: the process may be locked to the descriptors it
was given.
"""

import codecs
from collections.abc import Mapping, Sequence

from ingestd import samples, sniff
from ingestd.normalizer.exchange import Finding, Found, InspectionRequest, Problem, Sound, write_answer
from ingestd.normalizer.image import inspect_jpeg, inspect_png
from ingestd.normalizer.pdf import inspect_pdf, silence_parser

# pypdf and Pillow decode text by these names; Python imports a codec when it is first asked for.
_CODECS = (
    *("ascii", "charmap", "gbk", "latin1", "latin-1", "utf8", "utf-8"),
    *("utf-16", "utf-16be", "utf-16-be", "utf-16le", "utf-16-le"),
)


def inspect(
    request: Mapping[str, object], inputs: Sequence[int], _outputs: Sequence[int]
) -> dict[str, object]:
    """Inspects the document behind the one descriptor in `inputs`; asked and answered in words of `exchange`.

    Nothing is written: a sound document is sent as it is. Raises ValueError for a request that is none, and
    for a file that is not as long as the request says.
    """
    asked = InspectionRequest.read(request)
    (descriptor,) = inputs
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(asked.size + 1)
    if len(data) != asked.size:
        raise ValueError(f"the document has not the {asked.size} bytes that the spool recorded")
    return write_answer(_inspect_bytes(data, asked))


def warm_up() -> None:
    """Inspects one tiny document of each format, so that nothing is left to be imported or looked up."""
    silence_parser()
    for codec in _CODECS:
        codecs.lookup(codec)
    for mime_type, data, expected in (
        (sniff.JPEG, samples.small_jpeg(0), Sound(pages=1)),
        (sniff.PNG, samples.small_png(0), Sound(pages=1)),
        (sniff.PDF, samples.small_pdf(0), Sound(pages=1)),
        (sniff.PDF, samples.encrypted_pdf(), Finding(problem=Problem.ENCRYPTED)),
    ):
        asked = InspectionRequest(
            mime_type=mime_type, size=len(data), level="full", max_pixels=1 << 20, max_pages=1
        )
        answer = _inspect_bytes(data, asked)
        if answer != expected:
            raise RuntimeError(f"Pillow or pypdf does not work here: {mime_type} sample gave {answer}")


def _inspect_bytes(data: bytes, asked: InspectionRequest) -> Sound | Finding:
    try:
        return Sound(pages=_pages(data, asked))
    except Found as found:
        return found.finding


def _pages(data: bytes, asked: InspectionRequest) -> int:
    match asked.mime_type:
        case sniff.PDF:
            return inspect_pdf(
                data, level=asked.level, max_pixels=asked.max_pixels, max_pages=asked.max_pages
            )
        case sniff.JPEG:
            inspect_jpeg(data, level=asked.level, max_pixels=asked.max_pixels)
        case sniff.PNG:
            inspect_png(data, level=asked.level, max_pixels=asked.max_pixels)
        case other:
            raise ValueError(f"there is no inspection for {other}")
    return 1
