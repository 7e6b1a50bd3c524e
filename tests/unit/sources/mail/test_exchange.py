"""AuthAs of Exchange: believed exactly where it can't have come from outside, however it is dressed up."""

from pathlib import Path

import pytest

from ingestd.domain.document import Document
from ingestd.domain.mail import Letter
from ingestd.settings import MailboxSettings
from ingestd.sources.mail import exchange
from ingestd.sources.mail.authenticity import FoundKeys, Proof, Prover, named_domains
from ingestd.sources.mail.exchange import is_internal
from ingestd.spool import Spool
from tests.unit.sources.mail.office import Opener

FIELD = b"X-MS-Exchange-Organization-AuthAs: Internal\r\n"
REST = b"From: Ann <ann@example.com>\r\nSubject: Taxi\r\n\r\nIt was late.\r\n"
NESTED = b"Content-Type: message/rfc822\r\n\r\n" + FIELD + b"From: ann@example.com\r\n\r\nForwarded\r\n"


def written(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "message"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    "raw",
    [
        FIELD + REST,
        b"Received: from a\r\n\tby b\r\n" + FIELD + REST,
        (FIELD + REST).replace(b"\r\n", b"\n"),
        FIELD.upper().replace(b": INTERNAL", b": Internal") + REST,
        REST.replace(b"Subject", FIELD + b"Subject"),
        FIELD + b"Subject: X-MS-Exchange-Organization-AuthAs: Anonymous\r\n" + REST,
        FIELD + REST + b"X-MS-Exchange-Organization-AuthAs: Anonymous\r\n",
    ],
)
def test_the_field_as_exchange_writes_it_is_believed(tmp_path: Path, raw: bytes) -> None:
    assert is_internal(written(tmp_path, raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        REST,
        FIELD.replace(b"Internal", b"Anonymous") + REST,
        FIELD.replace(b"Internal", b"External") + REST,
        FIELD.replace(b"Internal", b"Internal, Anonymous") + REST,
        FIELD.replace(b"Internal", b"NotInternal") + REST,
        FIELD.replace(b"Internal", b"Internal;") + REST,
        FIELD.replace(b"-AuthAs", b"-AuthAs2") + REST,
        FIELD.replace(b"X-MS", b"X-X-MS") + REST,
        FIELD.replace(b"-Organization-", b"-CrossTenant-") + REST,
    ],
)
def test_what_says_something_else_proves_nothing(tmp_path: Path, raw: bytes) -> None:
    assert not is_internal(written(tmp_path, raw))


@pytest.mark.parametrize(
    "raw",
    [
        FIELD + FIELD + REST,
        FIELD + FIELD.replace(b"Internal", b"Anonymous") + REST,
        FIELD.replace(b"Internal", b"Anonymous") + FIELD + REST,
        FIELD + FIELD.upper().replace(b"INTERNAL", b"Anonymous") + REST,
        FIELD + FIELD.replace(b":", b" :") + REST,
        FIELD + FIELD.replace(b":", b"\t:").lower() + REST,
        FIELD + b"X-Other: a\r" + FIELD + REST,
        FIELD + b"X-Other: a\0" + FIELD + REST,
        FIELD + b"X-Other: a\r\n " + FIELD + REST,
    ],
)
def test_two_of_them_prove_nothing_whichever_stands_on_top(tmp_path: Path, raw: bytes) -> None:
    assert not is_internal(written(tmp_path, raw))


@pytest.mark.parametrize(
    "raw",
    [
        FIELD.replace(b":", b" :") + REST,
        b" " + FIELD + REST,
        b"X-Other: a\r\n " + FIELD + REST,
        b"X-Other: a\r" + FIELD + REST,
        FIELD.replace(b": ", b":\r\n ") + REST,
        FIELD.replace(b"Internal", b"Internal\r\n Anonymous") + REST,
        FIELD.replace(b"Internal", b"(Anonymous) Internal") + REST,
        FIELD.replace(b"Internal", b"=?utf-8?q?Internal?=") + REST,
        b"=?utf-8?q?X-MS-Exchange-Organization-AuthAs?=: Internal\r\n" + REST,
    ],
)
def test_one_in_disguise_proves_nothing(tmp_path: Path, raw: bytes) -> None:
    assert not is_internal(written(tmp_path, raw))


@pytest.mark.parametrize(
    "raw",
    [
        REST + FIELD,
        REST + NESTED,
        b"From: ann@example.com\r\n" + NESTED,
        b"From: ann@example.com\r\n \r\n" + FIELD + REST,
        b"From: ann@example.com\r\n\t \t\r\n" + FIELD + REST,
        b"From: ann@example.com\r\nno field\r\n" + FIELD + REST,
        b"From: ann@example.com\r\n: nameless\r\n" + FIELD + REST,
        b"\r\n" + FIELD + REST,
        b"\n" + FIELD + REST,
    ],
)
def test_one_behind_what_anybody_may_take_for_the_end_of_the_header_proves_nothing(
    tmp_path: Path, raw: bytes
) -> None:
    """A forwarded message, a part, text: what came from outside as a body is no header of Exchange's."""
    assert not is_internal(written(tmp_path, raw))


def test_a_header_too_long_to_be_looked_at_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "LONGEST_HEADER", 1000)
    line = b"X-Filler: " + b"a" * 38 + b"\r\n"
    assert is_internal(written(tmp_path, FIELD + line * 10 + REST))
    assert not is_internal(written(tmp_path, FIELD + line * 1000 + FIELD + REST))


# --- whom it proves


class Nobody:
    async def find(self, wanted: object) -> FoundKeys:
        return FoundKeys({}, frozenset())


async def prove(
    tmp_path: Path,
    *,
    sender: str = "ann@example.com",
    results: str = "",
    raw: bytes = FIELD + REST,
    **more: object,
) -> Proof:
    values: dict[str, object] = {
        "name": "receipts",
        "host": "outlook.office365.com",
        "user": "receipts@example.com",
        "allow": ("*@example.com", "*@*.example.org"),
        "trusted_authserv": ("",),
        "exchange_internal": True,
    }
    settings = MailboxSettings(**(values | more))  # type: ignore[arg-type] # each test names real settings
    path = written(tmp_path, raw)
    message = Document(path=path, filename="m.eml", size=1, sha256="0" * 64, declared_type=None)
    letter = Letter(senders=(sender,), authentication=(results,) if results else ())
    return await Prover(settings, Nobody(), Opener(Spool(tmp_path / "spool", min_free_bytes=0))).prove(
        letter, message
    )


@pytest.mark.parametrize(
    "results",
    [
        "",
        "dkim=none (message not signed) header.d=none;dmarc=none action=none header.from=example.com;",
        "dmarc=temperror action=none header.from=example.com",
    ],
)
async def test_a_colleague_is_proved_where_nothing_else_is(tmp_path: Path, results: str) -> None:
    proof = await prove(tmp_path, results=results)
    assert proof == Proof(True, "Exchange says that a colleague of example.com sent it.")


async def test_unless_it_is_switched_on_the_field_is_what_anybody_can_write(tmp_path: Path) -> None:
    assert not (await prove(tmp_path, exchange_internal=False)).proved
    assert MailboxSettings(name="a", host="b", user="c").exchange_internal is False


async def test_only_senders_of_domains_written_out_are_colleagues(tmp_path: Path) -> None:
    for sender in ("eve@evil.example", "ann@mail.example.com", "ann@a.example.org", "ann@example.org"):
        assert not (await prove(tmp_path, sender=sender)).proved, sender
    assert not (await prove(tmp_path, allow=("*",))).proved
    assert not (await prove(tmp_path, allow=("*@*.com",))).proved
    assert named_domains(["*", "ann@Bücher.example", "*@*.example.org", "x@*"]) == {"xn--bcher-kva.example"}


async def test_a_dmarc_failure_is_final_for_colleagues_too(tmp_path: Path) -> None:
    results = "dmarc=fail action=quarantine header.from=example.com"
    assert not (await prove(tmp_path, results=results)).proved


async def test_a_message_of_outside_that_exchange_calls_anonymous_is_not_proved(tmp_path: Path) -> None:
    raw = FIELD.replace(b"Internal", b"Anonymous") + REST + NESTED
    assert not (await prove(tmp_path, raw=raw)).proved
