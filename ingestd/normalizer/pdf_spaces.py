"""Colour spaces of pictures in a PDF: those whose samples are plain grey or RGB, and their palettes."""

from pypdf.generic import ArrayObject, DictionaryObject, NameObject, PdfObject, StreamObject

from ingestd.normalizer.pdf import forgiving, resolved


def space_of(stream: StreamObject) -> PdfObject | None:
    """As it stands in the picture; of a palette, the one that its colours are of."""
    if "/ColorSpace" not in stream:
        return None
    raw: PdfObject = stream.raw_get("/ColorSpace")
    space = resolved(raw)
    if isinstance(space, ArrayObject) and len(space) == 4 and str(resolved(space[0])) == "/Indexed":
        base: PdfObject = list.__getitem__(space, 1)
        return base
    return raw


def components_of(space: object) -> int | None:
    """Of a colour space whose samples are grey or RGB; None for any other."""
    if isinstance(space, NameObject):
        return {"/DeviceGray": 1, "/DeviceRGB": 3, "/CalRGB": 3, "/G": 1, "/RGB": 3}.get(str(space))
    if not isinstance(space, ArrayObject) or len(space) < 2:
        return None
    family = str(resolved(space[0]))
    if family == "/ICCBased":
        profile = resolved(space[1])
        count = resolved(profile.get("/N")) if isinstance(profile, DictionaryObject) else None
        return int(count) if count in (1, 3) and isinstance(count, int) else None
    return {"/CalGray": 1, "/CalRGB": 3}.get(family)


def palette_of(stream: StreamObject) -> bytes | None:
    """As a PNG has it, for an indexed colour space over grey or RGB (ISO 32000-2 section 8.6.6.3)."""
    space = resolved(stream.get("/ColorSpace"))
    if not isinstance(space, ArrayObject) or len(space) != 4 or str(resolved(space[0])) != "/Indexed":
        return None
    components = components_of(resolved(space[1]))
    table = resolved(space[3])
    if isinstance(table, StreamObject):
        colours = forgiving(table.get_data) or b""
    else:
        colours = bytes(getattr(table, "original_bytes", b""))
    if components == 1:
        colours = bytes(level for level in colours for _ in range(3))
    return colours[: min(256, len(colours) // 3) * 3] if components and colours else None
