"""From any mode of Pillow to the three that sheets have: 1, L and RGB.

Greys of 16 bits are scaled, not clipped; transparent parts lie on white; CMYK and Lab go through the
picture's own profile where it has a good one. RGB of another gamut (Display P3, Adobe RGB) becomes sRGB, for
profiles get lost in PDF pages and thumbnails; profiles of sRGB and of grey pictures stay with them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from ingestd.normalizer.exchange import Step

_WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A picture of mode 1, L or RGB. `profile`: its ICC profile, where that is one for this mode."""

    image: Image.Image
    profile: bytes | None
    steps: tuple[Step, ...]


def plain(image: Image.Image) -> Plain:
    """The loaded picture itself where its mode is plain, else a new one that looks the same."""
    profile = image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) else None
    steps: list[Step] = []
    if _may_be_transparent(image):
        image, was_transparent = _on_white(image)
        steps += [Step.ON_WHITE] if was_transparent else []
    if image.mode in _OTHER_COLOURS:
        image, profile = _OTHER_COLOURS[image.mode](image, profile), None
        steps.append(Step.COLOURS)
    elif image.mode in ("P", "RGBX", "YCbCr", "HSV"):
        image = image.convert("RGB")
    if image.mode == "RGB" and profile is not None and is_wide(profile):
        converted = _through_profile(image, profile)
        if converted is not None:
            image, profile = converted, None
            steps.append(Step.COLOURS)
    image.info = {}  # it would follow the picture into the next file
    return Plain(image=image, profile=_fitting(profile, image.mode), steps=tuple(steps))


def is_wide(profile: bytes | None) -> bool:
    """Whether it is one of RGB pictures, and another than sRGB: without it, their colours would shift."""
    if profile is None or _fitting(profile, "RGB") is None:
        return False
    try:
        facts = ImageCms.ImageCmsProfile(BytesIO(profile)).profile
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    primaries = (facts.red_colorant, facts.green_colorant, facts.blue_colorant)
    known = [primary[0] for primary in primaries if primary is not None]
    if len(known) < len(primaries):  # described by tables instead
        return not _says_srgb(profile)
    return not all(
        math.isclose(a, b, abs_tol=_SAME_PRIMARY)
        for ours, theirs in zip(_SRGB_PRIMARIES, known, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def is_grey(image: Image.Image) -> bool:
    """Whether an RGB picture has no colour at all."""
    red, green, blue = image.split()
    return red.tobytes() == green.tobytes() and green.tobytes() == blue.tobytes()


# --- transparency -------------------------------------------------------------------------------------------


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture without its alpha channel, and whether anything shone through."""
    if image.mode.startswith("I;16"):
        return _grey_from_16_bits(image), False  # one level is transparent: it is shown as it is
    mode = "LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"
    if image.mode == "La":
        image = image.convert("LA")
    image = image if image.mode == mode else image.convert(mode)
    alpha = image.getchannel("A")
    opaque = image.convert("L" if mode == "LA" else "RGB")
    if alpha.getextrema() == (255, 255):
        return opaque, False
    ground = Image.new(opaque.mode, image.size, _WHITE if opaque.mode == "L" else (_WHITE,) * 3)
    ground.paste(opaque, mask=alpha)
    return ground, True


# --- other colours ------------------------------------------------------------------------------------------


def _grey_from_16_bits(image: Image.Image, _profile: bytes | None = None) -> Image.Image:
    """The upper bits. Some scanners store 12 bits as they are: that no level is above 4095 tells."""
    levels = np.asarray(image)
    brightest = int(levels.max(initial=0))
    shift = next(bits for bits in (0, 4, 8) if brightest < 256 << bits)
    return Image.fromarray((levels >> shift).astype(np.uint8))


def _grey_from_numbers(image: Image.Image, _profile: bytes | None = None) -> Image.Image:
    """Integers of 32 bits and floats: taken to be parts of 1, or of the power of two above them."""
    numbers = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    highest = float(numbers.max(initial=0.0))
    if image.mode == "F" and highest <= 1.0:
        numbers = numbers * 255
    else:
        scale = next(bits for bits in (8, 12, 16, 32, 200) if highest < 2.0**bits)
        numbers = numbers * (255 / (2.0**scale - 1))
    return Image.fromarray(np.clip(np.rint(numbers), 0, 255).astype(np.uint8))


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    return (_through_profile(image, profile) if profile else None) or image.convert("RGB")


def _rgb_from_lab(image: Image.Image, _profile: bytes | None) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB")
    return cast("Image.Image", ImageCms.applyTransform(image, transform))


_OTHER_COLOURS: Mapping[str, Callable[[Image.Image, bytes | None], Image.Image]] = {
    "I;16": _grey_from_16_bits,
    "I;16L": _grey_from_16_bits,
    "I;16B": _grey_from_16_bits,
    "I;16N": _grey_from_16_bits,
    "I": _grey_from_numbers,
    "F": _grey_from_numbers,
    "CMYK": _rgb,
    "LAB": _rgb_from_lab,
}

# --- profiles (ICC.1 section 7.2: the colour space stands at byte 16) ---------------------------------------

_SRGB = ImageCms.createProfile("sRGB")
_SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""Red, green and blue as XYZ, adapted to D50 (IEC 61966-2-1; ICC.1 annex E)."""
_SAME_PRIMARY = 0.01
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}


def _fitting(profile: bytes | None, mode: str) -> bytes | None:
    return profile if profile is not None and profile[16:20] == _SPACES.get(mode) else None


def _says_srgb(profile: bytes) -> bool:
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """In sRGB; None when the profile is not one of this picture, or broken."""
    if _fitting(profile, image.mode) is None:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            _SRGB,
            image.mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return cast("Image.Image", ImageCms.applyTransform(image, transform))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
