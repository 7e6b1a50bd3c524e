"""Every format and trap of the catalogue through the real normalizer, judged by programs that share no code
with it: qpdf and poppler for PDF, another decoder for pictures.
"""

import hashlib
import re
from collections.abc import Iterable

import pytest

from ingestd import sniff
from ingestd.domain.document import InvalidDocument, ReceiptImage
from ingestd.normalizer import remarks
from ingestd.normalizer.exchange import Caution, Step
from tests.traps import readers
from tests.traps.workbench import Workbench
from tests.unit.normalizer.table.catalogue import TABLE, Case, Ready, Refused


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name.replace(" ", "_"))
def test_what_a_person_sends_becomes_what_the_target_takes_or_is_refused_in_plain_words(
    bench: Workbench, case: Case
) -> None:
    documents = [make() for make in case.documents]
    result = bench.prepare(*documents, limits=case.limits, passwords=case.passwords)
    match case.expected, result:
        case Refused(words=words), InvalidDocument():
            assert all(word in str(result).lower() for word in words), str(result)
            assert result.reason and result.fix
        case Ready() as expected, ReceiptImage():
            _judge(case, expected, result, documents)
        case _:
            pytest.fail(f"expected {case.expected}, got {result}")
    assert bench.leftovers() == []


def _judge(case: Case, expected: Ready, image: ReceiptImage, documents: list[bytes]) -> None:
    content = image.path.read_bytes()
    assert image.mime_type in expected.types and sniff.sniff(content) == image.mime_type
    assert (image.size, image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert image.size <= case.limits.max_bytes
    if expected.as_is:
        assert content == documents[0] and image.steps == ()
    pages = readers.pages_of(content, image.mime_type)
    assert image.pages == len(pages) == len(expected.looks)
    for page, look in zip(pages, expected.looks, strict=True):
        if look is not None:
            upright = look()
            assert readers.nearest_turn(page, upright) is None
            assert readers.difference(page, upright) <= expected.tolerance
    assert _said(image.steps, expected.steps) == expected.steps, image.steps
    assert _said(image.warnings, set(Caution)) == expected.warnings, image.warnings
    searched = content
    if image.mime_type == sniff.PDF:
        searched += readers.pdf_unpacked(content)
        assert expected.text in readers.pdf_text(content)
    assert not [mark for mark in expected.gone if mark in searched]


def _said(sentences: tuple[str, ...], words: Iterable[Step | Caution]) -> set[Step | Caution]:
    """Those of the words that one of the sentences says, whatever its numbers."""
    patterns = {
        word: ".+".join(re.escape(part) for part in re.split(r"{.+?}", remarks.SENTENCES[word]))
        for word in words
    }
    return {word for word, pattern in patterns.items() if any(re.search(pattern, s) for s in sentences)}
