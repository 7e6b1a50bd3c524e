"""WeasyPrint, imported in one place: what it changes in the process is put back.

Its import lets Pillow decode pictures that are cut off. Half a receipt is refused in every process of
ingestd, and half a picture within a mail is told as one that can't be read.
"""

from PIL import ImageFile
from weasyprint import CSS, HTML
from weasyprint.formatting_structure import boxes
from weasyprint.text.ffi import ffi, fontconfig, gobject, pangoft2
from weasyprint.text.fonts import FontConfiguration
from weasyprint.urls import URLFetcher, URLFetcherResponse

__all__ = [
    "CSS",
    "HTML",
    "FontConfiguration",
    "URLFetcher",
    "URLFetcherResponse",
    "boxes",
    "ffi",
    "fontconfig",
    "gobject",
    "pangoft2",
]

ImageFile.LOAD_TRUNCATED_IMAGES = False
