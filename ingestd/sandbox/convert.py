"""What Concur may make of an image before it gives it back: the same to the eye, not in its bytes.

Blocking: call it in a thread.
"""

from io import BytesIO

from PIL import Image

from ingestd.sandbox import bundle

_QUALITY = 70


def converted(how: str, content_type: str, content: bytes) -> tuple[str, bytes]:
    """`how` is the switch `converts`. PDFs, and what can't be decoded, stay as they are."""
    if content_type == "application/pdf" or how == "no":
        return content_type, content
    if how == "pdf":
        return "application/pdf", bundle.merge([(content_type, content)])
    return _recompressed(content_type, content)


def _recompressed(content_type: str, content: bytes) -> tuple[str, bytes]:
    out = BytesIO()
    try:
        with Image.open(BytesIO(content), formats=("JPEG", "PNG")) as picture:
            picture.convert("RGB").save(out, "JPEG", quality=_QUALITY)
    except Exception:
        # The decoders may raise anything on bytes that strangers sent.
        return content_type, content
    return "image/jpeg", out.getvalue()
