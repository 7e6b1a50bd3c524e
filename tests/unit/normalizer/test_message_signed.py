import base64
import hashlib
from collections.abc import Iterable

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ingestd.normalizer import message_signed
from ingestd.normalizer.exchange_mail import KeyRecord, VerifyRequest
from ingestd.normalizer.message_parts import read_message
from ingestd.normalizer.message_signed import verify
from tests.mail import samples

FIELDS = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")
NOW = 1_785_320_000


# Of 512 bits, made for this test: libraries make no such key any more (PKCS #1 in base64).
SHORT_KEY = (
    "MIIBOgIBAAJBAMcAZ/N1+JCzOsEYXdnae7dn1kGKy+yXw9sWPKykhX50bmK3+p20ra1fFeXrlKfwW9BE8+6clEfj+o1DPiHHh/kC"
    "AwEAAQJAa9l+fOXMpq9cAlZwVqcgMY/nAHJ2fmzpyozMqUwoxRTkKwyU57jl70TBkN51hM3yWFywC8TR20o2DTil+tEmOQIhAORz"
    "xG9sSO7S4KXO+LT2CNfE2nRjYzl5Y3sNz0N5Gf8bAiEA3v+CT/zOhWhZYnv/0N3yXLe2uRYNBCQ6kxPswXLfQnsCIQCSnIUlaN4J"
    "fwYzAvfz0q3sI2Z7KUmFmhSw5TTtvWtknwIgLb+Td19w6vOWatrvh2URJK5X4S7B6tiX37aVurYbUWMCIC/2n71cez1EtuaZojAU"
    "rvPbiMafVB6LIBSsd8oTTkA3"
)
SHORT_PUBLIC_KEY = (
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMcAZ/N1+JCzOsEYXdnae7dn1kGKy+yXw9sWPKykhX50bmK3+p20ra1fFeXrlKfwW9BE"
    "8+6clEfj+o1DPiHHh/kCAwEAAQ=="
)


class Signer:
    def __init__(self, domain: str, *, bits: int = 2048) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.domain = domain
        self.private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.record = KeyRecord(
            domain=domain, selector="sel", record="v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
        )

    def sign(
        self,
        raw: bytes,
        *,
        fields: Iterable[str] = FIELDS,
        length: bool = False,
        algorithm: str = "rsa-sha256",
        body: bytes = b"relaxed",
    ) -> bytes:
        field = dkim.DKIM(raw).sign(
            b"sel", self.domain.encode(), self.private, signature_algorithm=algorithm.encode(),
            include_headers=[name.encode() for name in fields], length=length,
            canonicalize=(b"relaxed", body),
        )  # fmt: skip
        return bytes(field) + raw

    def signature(self, data: bytes) -> bytes:
        """In base64, for a field made by hand."""
        key = load_pem_private_key(self.private, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return base64.b64encode(key.sign(data, PKCS1v15(), SHA256()))


ANN = Signer("example.com")
LIST = Signer("list.example.org")
RAW = samples.with_pdf()


def holding(raw: bytes, *records: KeyRecord, now: int | None = None) -> tuple[str, ...]:
    asked = VerifyRequest(
        size=len(raw), keys=records or (ANN.record,), now=2_000_000_000 if now is None else now
    )
    return verify(raw, asked).domains


def test_a_signature_holds() -> None:
    assert holding(ANN.sign(RAW)) == ("example.com",)


def test_several_signatures_hold_each_for_itself() -> None:
    twice = LIST.sign(ANN.sign(RAW))
    assert holding(twice, ANN.record, LIST.record) == ("list.example.org", "example.com")
    assert holding(twice, ANN.record) == ("example.com",)
    assert holding(LIST.sign(RAW), ANN.record) == ()


def test_a_key_of_another_domain_proves_nothing() -> None:
    forged = KeyRecord(domain="example.com", selector="sel", record=LIST.record.record)
    assert holding(ANN.sign(RAW), forged) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Please find", b"Please fund"),
        (b"Subject: Hotel Lyon", b"Subject: Hotel Rome"),
        (b"From: Ann Example <ann@example.com>", b"From: Ann Example <eve@example.com>"),
        (
            b"\r\n\r\n",
            b"\r\n\r\n\r\nmore",
        ),
    ],
)
def test_a_changed_message_does_not_hold(old: bytes, new: bytes) -> None:
    signed = ANN.sign(RAW)
    assert old in signed
    assert holding(signed.replace(old, new)) == ()


@pytest.mark.parametrize(
    "field",
    [
        b"From: eve@example.net",
        b"from : eve@example.net",
        b"Subject: [report OTHER]",
        b"Date: Thu, 01 Jan 1970 00:00:00 +0000",
        b"Content-Type: message/rfc822",
        b"Content-Transfer-Encoding: base64",
    ],
)
def test_a_second_field_put_on_top_makes_every_signature_void(field: bytes) -> None:
    raw = b"Content-Transfer-Encoding: 8bit\r\n" + RAW
    assert holding(ANN.sign(raw)) == ("example.com",)
    assert holding(field + b"\r\n" + ANN.sign(raw)) == ()


def test_a_signature_over_a_part_of_the_body_is_none() -> None:
    assert holding(ANN.sign(RAW, length=True)) == ()


def test_the_length_of_the_signed_part_can_not_be_pushed_out_of_sight() -> None:
    """Blanks may be added to a field (RFC 6376 section 3.4.2), and a very long one is cut off."""
    tags = (
        f"v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=sel; h=from:subject:date; bh={HASH}; l=7; b="
    )
    field = (
        b"DKIM-Signature: " + tags.encode() + ANN.signature(SHORT_HEAD + b"dkim-signature:" + tags.encode())
    )
    raw = b"From: ann@example.com\r\nSubject: a\r\nDate: b\r\n\r\nSigned.forged\r\n"
    assert dkim.verify(field + b"\r\n" + raw, dnsfunc=lambda *_, **__: ANN.record.record.encode())
    assert holding(field + b"\r\n" + raw) == ()
    assert holding(field.replace(b" l=", b" " * 33_000 + b"l=") + b"\r\n" + raw) == ()


def test_a_header_that_the_library_reads_on_and_nobody_else_proves_nothing() -> None:
    """It passes over lines "From ...": what follows is header to it, and the text to everybody else."""
    head, _, body = ANN.sign(RAW).partition(b"\r\n\r\n")
    forged = head + b"\r\nFrom the hotel\r\nTotal: 999.00 EUR\r\n\r\n" + body
    assert dkim.verify(forged, dnsfunc=lambda *_, **__: ANN.record.record.encode())
    assert holding(forged) == ()


def test_a_message_behind_one_whose_lines_end_with_a_carriage_return_proves_nothing() -> None:
    """To the library it is one long field, Received, on top of the one that is signed."""
    front = b"Received: x\rFrom: ann@example.com\rSubject: forged\r\r" + b"forged " * 2_000 + b"\r\n"
    forged = front + ANN.sign(RAW)
    assert read_message(forged).header.first("subject") == b"forged"
    assert dkim.verify(forged, dnsfunc=lambda *_, **__: ANN.record.record.encode())
    assert holding(forged) == ()


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_blanks_may_grow_and_end_lines_where_the_signature_allows_it(ending: bytes) -> None:
    raw = samples.with_pdf().replace(b"Please find", b"Please find it")
    signed = ANN.sign(raw).replace(b"Please find it", b"Please \t find   it  ").replace(b"\r\n", ending)
    assert holding(signed) == ("example.com",)
    assert holding(signed.replace(b"relaxed/relaxed", b"relaxed/simple")) == ()
    assert holding(ANN.sign(raw, body=b"simple")) == ("example.com",)
    assert holding(ANN.sign(raw, body=b"simple").replace(b"Please find", b"Please  find")) == ()


SHORT_HEAD = b"from:ann@example.com\r\nsubject:a\r\ndate:b\r\n"
HASH = base64.b64encode(hashlib.sha256(b"Signed.").digest()).decode()


@pytest.mark.parametrize("missing", ["subject", "date", "content-type"])
def test_what_decides_about_the_message_must_be_signed(missing: str) -> None:
    assert holding(ANN.sign(RAW, fields=[name for name in FIELDS if name != missing])) == ()


def test_the_type_of_a_plain_text_need_not_be_signed() -> None:
    signed = ANN.sign(samples.only_text(), fields=["from", "subject", "date"])
    assert holding(signed) == ("example.com",)


def test_old_algorithms_and_short_keys_prove_nothing() -> None:
    assert holding(ANN.sign(RAW, algorithm="rsa-sha1")) == ()
    short = Signer("example.com", bits=1024)
    assert holding(short.sign(RAW), short.record) == ("example.com",)
    short.private = f"-----BEGIN RSA PRIVATE KEY-----\n{SHORT_KEY}\n-----END RSA PRIVATE KEY-----\n".encode()
    shorter = KeyRecord(domain="example.com", selector="sel", record=f"p={SHORT_PUBLIC_KEY}")
    signed = short.sign(RAW)
    assert dkim.DKIM(signed, minkey=512).verify(dnsfunc=lambda *_, **__: shorter.record.encode())
    assert holding(signed, shorter) == ()


def test_a_signature_holds_from_its_time_to_its_end() -> None:
    signed = ANN.sign(RAW)
    stamp = int(dkim.util.parse_tag_value(signed.partition(b":")[2].partition(b"\r\nReturn-Path")[0])[b"t"])
    assert holding(signed, now=stamp) == ("example.com",)
    assert holding(signed, now=stamp - 3_600) == ()


@pytest.mark.parametrize(
    ("claimed", "current"),
    [
        ({}, True),
        ({"t": str(NOW + 200)}, True),  # clocks differ
        ({"t": str(NOW + 400)}, False),
        ({"t": str(NOW - 1_000), "x": str(NOW + 1)}, True),
        ({"x": str(NOW - 200)}, True),
        ({"x": str(NOW - 400)}, False),
        ({"x": "soon"}, False),
        ({"t": ""}, False),
        ({"x": "9" * 1_000}, True),
    ],
)
def test_a_signature_is_current_between_its_two_times(claimed: dict[str, str], current: bool) -> None:
    assert message_signed._is_current(claimed, NOW) is current


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: ",
        b"DKIM-Signature: " + b";" * 10_000,
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; h=from:subject:date; bh=!; b=!",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=\xff; s=sel; h=from:subject:date:content-type; bh=AA; b=AA",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; t=x; h=from:subject:date; bh=AA; b=AA",
        b"DKIM-Signature: a=1; a=2",
        b" folded under nothing",
    ],
)
def test_junk_in_a_signature_proves_nothing_and_hurts_nobody(field: bytes) -> None:
    assert holding(field + b"\r\n" + RAW) == ()


@pytest.mark.parametrize(
    "record",
    [
        "",
        "v=DKIM1",
        "v=DKIM1; p=",
        "p=AAAA",
        "v=DKIM2; p=AAAA",
        "k=ed25519; p=AAAA",
        "p=\xff",
        "p=" + "A" * 20_000,
    ],
)
def test_junk_in_a_key_proves_nothing(record: str) -> None:
    key = KeyRecord(domain="example.com", selector="sel", record=record)
    assert holding(ANN.sign(RAW), key) == ()


def test_only_the_first_ten_signatures_are_looked_at() -> None:
    junk = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s\r\n"
    assert holding(junk * 9 + ANN.sign(RAW)) == ("example.com",)
    assert holding(junk * 10 + ANN.sign(RAW)) == ()
