"""The job of the limited processes: documents, archives, comparing two images, messages.

In: open files and a request in the words of `exchange`. Out: an answer in the same words, and bytes in the
output files. After `warm_up` nothing is imported and no file is opened: the process may be locked to the
descriptors it was given.
"""

import codecs
from collections.abc import Mapping, Sequence

from ingestd import samples, sniff
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.normalizer import (
    comparing,
    documents,
    exchange_mail,
    look,
    message_job,
    pictures,
    recognising,
    unpacking,
)
from ingestd.normalizer.exchange import (
    Compared,
    CompareRequest,
    Finding,
    Found,
    Input,
    Listing,
    NoRoom,
    OutputFull,
    Prepared,
    PrepareRequest,
    Problem,
    Recognised,
    RecogniseRequest,
    UnpackRequest,
    write_answer,
)
from ingestd.normalizer.exchange_mail import Opened, OpenRequest, Unopened, Verified, VerifyRequest
from ingestd.normalizer.outputs import write
from ingestd.normalizer.sheets import Bounds, Draft

# pypdf, Pillow and zipfile decode text by these names; Python imports a codec when it is first asked for.
_CODECS = (
    *("ascii", "charmap", "cp437", "gbk", "latin1", "latin-1", "utf8", "utf-8"),
    *("utf-16", "utf-16be", "utf-16-be", "utf-16le", "utf-16-le"),
)


def work(request: Mapping[str, object], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    """One task. Raises ValueError for a request that is none, and for files not as long as it says."""
    try:
        match request.get("task"):
            case "prepare":
                return write_answer(_prepare(PrepareRequest.read(request), inputs, outputs))
            case "unpack":
                return write_answer(_unpack(UnpackRequest.read(request), inputs, outputs))
            case "compare":
                return write_answer(_compare(CompareRequest.read(request), inputs))
            case "recognise":
                return write_answer(_recognise(RecogniseRequest.read(request), inputs))
            case "open_message":
                return exchange_mail.write_answer(_open(OpenRequest.read(request), inputs, outputs))
            case "verify":
                return exchange_mail.write_answer(_verify(VerifyRequest.read(request), inputs))
    except Found as found:
        return write_answer(found.finding)
    except OutputFull:
        return write_answer(NoRoom())
    raise ValueError(f"there is no task {request.get('task')!r}")


def warm_up() -> None:
    """Prepares a tiny document of each kind, so that nothing is left to be imported or looked up."""
    for codec in _CODECS:
        codecs.lookup(codec)
    for room in (pictures, documents, look, comparing, unpacking, message_job):
        room.warm_up()
    for mime_type, data, expected in (
        (sniff.JPEG, samples.small_jpeg(0), None),
        (sniff.PNG, samples.small_png(0), None),
        (sniff.PDF, samples.small_pdf(0), None),
        (sniff.PDF, samples.encrypted_pdf(password="x"), Problem.ENCRYPTED),  # noqa: S106 - a sample
    ):
        try:
            _image_of([(mime_type, data)], _WARM_UP)
            found = None
        except Found as problem:
            found = problem.finding.problem
        if found is not expected:
            raise RuntimeError(f"the decoders do not work here: the {mime_type} sample gave {found}")


_WARM_UP = Bounds(
    types=frozenset({sniff.JPEG, sniff.PNG, sniff.PDF}),
    max_bytes=1 << 20,
    max_pages=10,
    max_pixels=1 << 18,
    level="full",
    strip_location=True,
)


# --- prepare ------------------------------------------------------------------------------------------------


def _prepare(asked: PrepareRequest, inputs: Sequence[int], outputs: Sequence[int]) -> Prepared | Finding:
    image_file, thumbnail_file = outputs
    given = [(one.mime_type, _read(file, one)) for one, file in zip(asked.documents, inputs, strict=True)]
    bounds = Bounds(
        types=asked.types,
        max_bytes=asked.max_bytes,
        max_pages=asked.max_pages,
        max_pixels=asked.max_pixels,
        level=asked.level,
        strip_location=asked.strip_location,
        passwords=asked.passwords,
    )
    draft, seen = _image_of(given, bounds)
    if draft.data is not None:
        write(image_file, draft.data)
    if seen.thumbnail is not None:
        write(thumbnail_file, seen.thumbnail)
    return Prepared(
        as_is=draft.data is None,
        mime_type=draft.mime_type,
        pages=draft.pages,
        steps=tuple(draft.steps),
        cautions=(*draft.cautions, *seen.cautions),
        fingerprint=seen.fingerprint,
        thumbnail=seen.thumbnail is not None,
    )


def _image_of(given: Sequence[tuple[str, bytes]], bounds: Bounds) -> tuple[Draft, look.Look]:
    """Raises Found, also for what fits the target and still shows nothing."""
    draft = _draft(given, bounds)
    seen = look.look_at(draft.views)
    first = draft.views[0] if draft.views else None
    if seen.tiny and draft.pages == 1 and first is not None:
        raise Found(Problem.TINY, width=first.width, height=first.height)
    if seen.blank and len(draft.views) >= draft.pages:  # the views show all there is
        raise Found(Problem.BLANK, pages=draft.pages)
    return draft, seen


def _draft(given: Sequence[tuple[str, bytes]], bounds: Bounds) -> Draft:
    if len(given) > 1:
        return documents.merge(given, bounds)
    ((mime_type, data),) = given
    if mime_type == sniff.PDF:
        return documents.prepare_pdf(data, bounds)
    return pictures.prepare_picture(data, mime_type, bounds)


# --- unpack and compare -------------------------------------------------------------------------------------


def _unpack(asked: UnpackRequest, inputs: Sequence[int], outputs: Sequence[int]) -> Listing:
    (archive,), (members,) = inputs, outputs
    return unpacking.unpack(_read(archive, Input(mime_type=sniff.ZIP, size=asked.size)), members, asked)


def _compare(asked: CompareRequest, inputs: Sequence[int]) -> Compared:
    first, second = ((one.mime_type, _read(f, one)) for one, f in zip(asked.images, inputs, strict=True))
    return Compared(same=comparing.same(first, second, max_pixels=asked.max_pixels))


def _recognise(asked: RecogniseRequest, inputs: Sequence[int]) -> Recognised:
    sent, returned = ((one.mime_type, _read(f, one)) for one, f in zip(asked.images, inputs, strict=True))
    return Recognised(verdict=recognising.recognise(sent, returned, max_pixels=asked.max_pixels))


# --- messages -----------------------------------------------------------------------------------------------


def _open(asked: OpenRequest, inputs: Sequence[int], outputs: Sequence[int]) -> Opened | Unopened:
    (message,), (leaves,) = inputs, outputs
    return message_job.opened(asked, _read(message, Input(mime_type=MESSAGE_TYPE, size=asked.size)), leaves)


def _verify(asked: VerifyRequest, inputs: Sequence[int]) -> Verified:
    (message,) = inputs
    return message_job.verified(asked, _read(message, Input(mime_type=MESSAGE_TYPE, size=asked.size)))


# --- files --------------------------------------------------------------------------------------------------


def _read(descriptor: int, expected: Input) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(expected.size + 1)
    if len(data) != expected.size:
        raise ValueError(f"the document has not the {expected.size} bytes that the spool recorded")
    return data
