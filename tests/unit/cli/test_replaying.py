"""A message that was too large to be fetched left only its header: replaying it says so."""

import io
from pathlib import Path

import pytest

from ingestd.cli.replaying import _from_spool, is_mere_header
from ingestd.domain.document import Instant, Origin, OriginKind
from ingestd.domain.errors import IngestdError
from ingestd.domain.mail import Filed, MessageOrigin, MessagePlace
from ingestd.interfaces import Mailed, Refusal
from ingestd.settings import Settings, StorageSettings
from ingestd.spool import Spool

HEADER = b"From: ann@example.com\r\nSubject: scans\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize("raw", [HEADER, HEADER[:-2], HEADER.replace(b"\r\n", b"\n"), b"", HEADER + b"\r\n"])
def test_what_has_no_body_is_a_mere_header(raw: bytes) -> None:
    assert is_mere_header(raw)


@pytest.mark.parametrize("raw", [HEADER + b"--b\r\n", b"\r\nTotal 1", b"A: b\n\nTotal 1"])
def test_what_has_a_body_is_a_message(raw: bytes) -> None:
    assert not is_mere_header(raw)


def test_a_message_that_was_too_large_is_told_with_what_to_do(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    place = MessagePlace(account="a", mailbox="INBOX", uidvalidity=1, uid=1)
    mail = MessageOrigin(place=place, message_id="", raw_sha256=spool.write(io.BytesIO(HEADER)).sha256)
    mailed = Mailed(
        arrival="a",
        origin=Origin(kind=OriginKind.MAIL, source="receipts", path="scans", sender="x", mail=mail),
        received_at=Instant(1),
        receipts=(),
        ignored=(Refusal(filename="scans", reason="The message has 70 MB; more than 60 MB are not taken."),),
        place=place,
        filed=Filed.REJECTED,
        answered=False,
    )
    settings = Settings(storage=StorageSettings(directory=tmp_path))
    with pytest.raises(IngestdError) as told:
        _from_spool(spool, mailed, mail, settings)
    assert "only the header is in the spool" in str(told.value)
    assert "has 70 MB" in str(told.value) and "raise max_size of the mailbox 'receipts'" in str(told.value)
