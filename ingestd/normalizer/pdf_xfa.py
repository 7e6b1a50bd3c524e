"""The data of an XFA form: what a person filled in, as XML beside the fields (XFA 3.3, chapter 3).

Most programs write a value into the XML and into the field. Where only the XML has it, the field gets it.
"""

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError  # only names: parsing is defusedxml's

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pypdf.generic import ArrayObject, StreamObject

from ingestd.normalizer.pdf import forgiving, resolved

_PACKETS = 100
_XML_BYTES = 5_000_000
_ELEMENTS = 50_000


class Datasets:
    """Values by the name of their element, each given out once, in the order of the document."""

    def __init__(self, values: Sequence[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in values:
            self._values.setdefault(name, []).append(value)

    def take(self, path: Sequence[str]) -> str:
        """The next value for the field with this full name (form1[0].#subform[0].Total[0]); "" for none."""
        names = [re.sub(r"\[\d+\]$", "", part) for part in path if not part.startswith("#")]
        waiting = self._values.get(names[-1]) if names else None
        return waiting.pop(0) if waiting else ""


def read_datasets(xfa: object) -> Datasets:
    """`xfa`: the /XFA entry: one stream, or names and streams in turn. What can't be read has no values."""
    values: list[tuple[str, str]] = []
    for xml in _packets(resolved(xfa)):
        root = _parsed(xml)
        if root is not None:
            for data in root.iter():
                if _local(data) == "data" and "xfa-data" in data.tag:
                    values += _leaves(data)
                    break
    return Datasets(values)


def _packets(xfa: object) -> list[bytes]:
    if isinstance(xfa, StreamObject):
        return [forgiving(xfa.get_data) or b""]
    packets = []
    if isinstance(xfa, ArrayObject):
        items = [forgiving(lambda item=item: resolved(item)) for item in list.__iter__(xfa)][: 2 * _PACKETS]  # type: ignore[misc] # mypy does not infer a lambda's default
        for name, packet in zip(items[::2], items[1::2], strict=False):
            if str(name) == "datasets" and isinstance(packet, StreamObject):
                packets.append(forgiving(packet.get_data) or b"")
    return packets


def _parsed(xml: bytes) -> Element | None:
    if not xml or len(xml) > _XML_BYTES:
        return None
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    return root


def _leaves(data: Element) -> list[tuple[str, str]]:
    leaves = []
    for number, element in enumerate(data.iter()):
        if number > _ELEMENTS:
            break
        if not len(element) and element is not data:
            leaves.append((_local(element), (element.text or "").strip()))
    return leaves


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
