"""A job for limited processes that looks at a picture, or compares two, with nothing else in them."""

import io
from collections.abc import Sequence

from PIL import Image

from ingestd.normalizer import comparing, look


def warm_up() -> None:
    look.warm_up()
    comparing.warm_up()


def job(request: dict[str, object], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    """`type` and `sizes` of the inputs; one is looked at, two are compared."""
    contents = []
    for descriptor in inputs:
        with open(descriptor, "rb", closefd=False) as file:
            contents.append(file.read())
    if len(contents) == 2:
        kind = str(request["type"])
        return {"same": comparing.same((kind, contents[0]), (kind, contents[1]), max_pixels=1 << 26)}
    with Image.open(io.BytesIO(contents[0]), formats=["PNG", "JPEG"]) as view:
        seen = look.look_at([view.convert("RGB")])
    return {"fingerprint": seen.fingerprint, "blank": seen.blank, "thumbnail": len(seen.thumbnail or b"")}
