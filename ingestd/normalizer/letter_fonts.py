"""The fonts of this machine, looked up once, before the first fork: workers only open the files they need.

Pango has a thread for each font map, so a map lives no longer than its letter: the fork server stays without
threads. Fonts that a mail brings are not used: they would have to be written to a file first.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ingestd.normalizer.letter_engine import FontConfiguration, ffi, fontconfig, gobject, pangoft2


class NoFonts(Exception):
    """Nothing can be written with none."""


class Fonts(FontConfiguration):  # type: ignore[misc] # weasyprint ships no types
    """For one letter. Raises NoFonts."""

    def __init__(self) -> None:
        self._config = _configuration()
        self.font_map = ffi.gc(pangoft2.pango_ft2_font_map_new(), gobject.g_object_unref)
        pangoft2.pango_fc_font_map_set_config(ffi.cast("PangoFcFontMap *", self.font_map), self._config)
        self._folder = None
        self.strut_layouts: dict[object, object] = {}
        self.font_features: dict[object, object] = {}

    def add_font_face(self, rule_descriptors: object, url_fetcher: object) -> None:
        """A font that the mail brings: passed over."""


def readable() -> tuple[str, ...]:
    """The directories of the fonts. Raises NoFonts.

    Of a font that is linked from elsewhere the file alone: who knows what lies beside it.
    """
    places = set()
    for file in _files():
        real = file.resolve()
        places.add(str(file.parent if real == file else real))
    return tuple(sorted(places))


def _files() -> Iterator[Path]:
    found = fontconfig.FcConfigGetFonts(_configuration(), fontconfig.FcSetSystem)
    path = ffi.new("FcChar8 **")
    for number in range(found.nfont):
        if fontconfig.FcPatternGetString(found.fonts[number], b"file", 0, path) == 0:  # FcResultMatch
            yield Path(os.fsdecode(ffi.string(path[0])))


@cache
def _configuration() -> Any:
    """The configuration of the system, for the life of the process."""
    configuration = fontconfig.FcInitLoadConfigAndFonts()
    fonts = fontconfig.FcConfigGetFonts(configuration, fontconfig.FcSetSystem)
    if fonts == ffi.NULL or fonts.nfont == 0:
        raise NoFonts("no fonts are installed (on Debian: apt install fonts-dejavu-core)")
    return configuration
