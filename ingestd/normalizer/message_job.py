"""What a limited process does with a message: take it apart, or check its signatures."""

from functools import partial

from ingestd.normalizer import message_leaves, message_signed, message_text, message_tnef
from ingestd.normalizer.exchange_mail import (
    KeyRecord,
    Opened,
    OpenRequest,
    Unopenable,
    Unopened,
    Verified,
    VerifyRequest,
)
from ingestd.normalizer.outputs import write


def opened(asked: OpenRequest, message: bytes, output: int) -> Opened | Unopened:
    """Raises OutputFull."""
    try:
        return message_leaves.open_message(message, partial(write, output), asked)
    except Unopenable as found:
        return Unopened(obstacle=found.obstacle, numbers=found.numbers)


def verified(asked: VerifyRequest, message: bytes) -> Verified:
    return message_signed.verify(message, asked)


_SAMPLE = b"""\
From: =?iso-2022-jp?b?GyRCNkobKEI=?= <ann@b\xc3\xbccher.example>
Subject: =?utf-8?q?Hotel?=
Date: Thu, 1 Jan 2026 00:00:00 +0000
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=a; t=1;
 h=from:subject:date:content-type; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA
Content-Type: multipart/mixed; boundary=x

--x

text
--x
Content-Type: application/pdf; name*=utf-8''a%20b.pdf
Content-Transfer-Encoding: base64

JVBERi0xLjcK
--x--
"""


def warm_up() -> None:
    """Reads a tiny message in each way, so that nothing is left to be imported: IDNA, MAPI, DKIM …"""
    leaves: list[bytes] = []
    asked = OpenRequest(size=len(_SAMPLE), max_leaves=1, max_bytes=100)
    letter = message_leaves.open_message(_SAMPLE, leaves.append, asked).letter
    assert (letter.senders, leaves) == (("ann@xn--bcher-kva.example",), [b"%PDF-1.7\n"])
    message_text.texts_of(_SAMPLE)
    message_tnef.warm_up()
    key = KeyRecord(domain="example.com", selector="a", record="v=DKIM1; p=AAAA")
    message_signed.verify(_SAMPLE, VerifyRequest(size=len(_SAMPLE), keys=(key,), now=2))
