"""A picture of a PDF made lighter, and put back in the same place."""

from dataclasses import dataclass

from pypdf.generic import DictionaryObject, NameObject, NumberObject, PdfObject, StreamObject

from ingestd.normalizer.pdf import repack, resolved
from ingestd.normalizer.pdf_spaces import components_of
from ingestd.normalizer.sheets import Sheet

_KEPT = ("/SMask", "/Mask", "/Intent", "/Interpolate", "/OC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lighter:
    """`space`: what the samples meant before they were made a sheet; None: the device's grey or RGB."""

    sheet: Sheet
    space: PdfObject | None


def put_back(stream: StreamObject, lighter: Lighter) -> None:
    """The same picture from now on with these samples; its masks stay."""
    sheet = lighter.sheet
    entries: dict[str, PdfObject] = {
        "/Type": NameObject("/XObject"),
        "/Subtype": NameObject("/Image"),
        "/Width": NumberObject(sheet.width),
        "/Height": NumberObject(sheet.height),
        "/BitsPerComponent": NumberObject(1 if sheet.mode == "1" else 8),
        "/ColorSpace": _colour_space(sheet, lighter.space),
        **_packing(sheet),
    }
    for name in _KEPT:
        if name in stream:
            entries[name] = stream.raw_get(name)
    repack(stream, entries, sheet.data)


def _colour_space(sheet: Sheet, space: PdfObject | None) -> PdfObject:
    """The picture's own, with its profile, while the samples are of that kind."""
    if space is not None and components_of(resolved(space)) == {"1": 0, "L": 1, "RGB": 3}[sheet.mode]:
        return space
    return NameObject("/DeviceRGB" if sheet.mode == "RGB" else "/DeviceGray")


def _packing(sheet: Sheet) -> dict[str, PdfObject]:
    if sheet.encoding == "jpeg":
        return {"/Filter": NameObject("/DCTDecode")}
    if sheet.encoding == "g4":
        parameters = {"/K": -1, "/Columns": sheet.width, "/Rows": sheet.height}
        name = "/CCITTFaxDecode"
    else:
        bits, colours = (1, 1) if sheet.mode == "1" else (8, 3 if sheet.mode == "RGB" else 1)
        parameters = {
            "/Predictor": 15,
            "/Colors": colours,
            "/BitsPerComponent": bits,
            "/Columns": sheet.width,
        }
        name = "/FlateDecode"
    entries = DictionaryObject({NameObject(key): NumberObject(value) for key, value in parameters.items()})
    return {"/Filter": NameObject(name), "/DecodeParms": entries}
