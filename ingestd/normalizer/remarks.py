"""What was done to a document, and what a person may want to look at: sentences for `show` and the ledger."""

from collections.abc import Mapping, Sequence

from ingestd.domain.document import Document
from ingestd.normalizer.exchange import Caution, Noted, Step
from ingestd.normalizer.wording import filled_in

_FITTED = " to fit the limit: now {size:up} MB of {limit:down} MB."

SENTENCES: Mapping[Step | Caution, str] = {
    Step.CONVERTED: "Converted to a format the expense system takes.",
    Step.TURNED: "Turned upright by {degrees} degrees.",
    Step.MIRRORED: "Mirrored, as the camera noted.",
    Step.COLOURS: "Converted to ordinary colours (RGB or grey).",
    Step.ON_WHITE: "Transparent parts were laid on white.",
    Step.LOCATION: "Location and other personal data of the camera were removed.",
    Step.STILL: "Only the first of {frames} pictures of the animation was kept.",
    Step.FRAMES: "All {pages} pages of the picture file were put into one PDF.",
    Step.REPACKED: "Made smaller without loss" + _FITTED,
    Step.RECOMPRESSED: "Compressed again (JPEG quality {quality})" + _FITTED,
    Step.SCALED: "Scaled to {percent} %" + _FITTED,
    Step.GREYED: "Made grey" + _FITTED,
    Step.RASTERISED: "Its pages were turned into pictures of {dpi} dpi.",
    Step.DECRYPTED: "The restrictions of its author (no printing, no copying …) were removed.",
    Step.OPENED: "Opened with password number {password} of those known.",
    Step.FORM_FLATTENED: "The form's values became part of its pages.",
    Step.ACTIVE_REMOVED: "Scripts, actions and embedded files were removed.",
    Step.REPAIRED: "Its damaged structure was repaired; all pages are there.",
    Step.PORTFOLIO_OPENED: "The {members} files of the collection became its pages.",
    Step.MERGED: "{documents} documents were merged into one PDF.",
    Caution.BLURRED: "Page {page} is so blurred that it may not be legible.",
    Caution.BLANK_PAGE: "Page {page} is blank.",
    Caution.SMALL: "The picture has only {width} x {height} pixels and may not be legible.",
    Caution.SECOND_PICTURE_LEFT_OUT: "The file holds {frames} pictures; only the main one is sent.",
    Caution.SIGNATURE_LOST: "It was signed digitally; the signature is not valid for what is sent.",
}


def sentences(noted: Sequence[Noted], documents: Sequence[Document]) -> tuple[str, ...]:
    """One for each, in order; with several documents each names its own."""
    return tuple(_about(one, documents, filled_in(SENTENCES[one.what], one.numbers)) for one in noted)


def _about(noted: Noted, documents: Sequence[Document], sentence: str) -> str:
    if noted.document is None or len(documents) < 2 or not 0 <= noted.document < len(documents):
        return sentence
    return f"{documents[noted.document].filename}: {sentence}"
