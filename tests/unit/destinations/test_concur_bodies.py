"""Bodies as Concur, its gateways and hostile servers write them."""

import json
import time
from dataclasses import replace

import pytest

from ingestd.destinations.concur.bodies import MESSAGE_LENGTH, Body, plain, read_body

NAMESPACE = 'xmlns="http://www.concursolutions.com/api/image/2011/02"'
IMAGE_ID = "aBcDeMwbl34xnwdkUw5ZjDsggDl2$pyoy31$pnGaHAywmPrpbAmE"


@pytest.mark.parametrize(
    "content",
    [
        f"<Image {NAMESPACE}><Id>{IMAGE_ID}</Id><Url /></Image>",
        f"<?xml version='1.0' encoding='utf-8'?>\n<Image {NAMESPACE}>\n <Id>\n  {IMAGE_ID} \n</Id>\n</Image>",
        f"\ufeff<i:Image xmlns:i='urn:other'><i:Id>{IMAGE_ID}</i:Id></i:Image>",
        f"<image><id>{IMAGE_ID}</id><Error/></image>",
        json.dumps({"Id": IMAGE_ID, "Url": None}),
        json.dumps({"Image": {"Id": IMAGE_ID}}),
        json.dumps({"Id": IMAGE_ID, "Error": None}),
    ],
)
def test_an_image_is_found_in_xml_and_json(content: str) -> None:
    assert read_body(content.encode()) == Body(image_id=IMAGE_ID)


def test_other_encodings_of_xml_are_read() -> None:
    text = f"<?xml version='1.0' encoding='utf-16'?><Image><Id>{IMAGE_ID}</Id></Image>"
    assert read_body(text.encode("utf-16")).image_id == IMAGE_ID


ERROR = Body(error=True, error_id="A55930EA", message="Invalid User:x@y")


@pytest.mark.parametrize(
    "content",
    [
        "<Error><Message>Invalid User:x@y</Message><Server-Time>2017-09-27T15:46:57</Server-Time>"
        "<Id>A55930EA</Id></Error>",
        "<Error xmlns='urn:any'><Message> Invalid\n User:x@y </Message><Id>A55930EA</Id></Error>",
        "<Errors><Error><Id>A55930EA</Id><Message>Invalid User:x@y</Message></Error></Errors>",
        '{"Error":{"Message":"Invalid User:x@y","Server-Time":"2019-03-12T07:56:32","Id":"A55930EA"}}',
        '{"error":{"id":"A55930EA","message":"Invalid User:x@y"},"path":"/x"}',
        '{"id":"A55930EA","message":"Invalid User:x@y"}',
    ],
)
def test_an_error_is_found_in_xml_and_json(content: str) -> None:
    body = read_body(content.encode())
    assert replace(body, message=plain(body.message)) == ERROR


def test_an_error_of_oauth_is_understood() -> None:
    body = read_body(b'{"error":"invalid_token","error_description":"expired"}')
    assert body.error
    assert "invalid_token" in body.message or body.message == "expired"


def test_an_image_with_an_error_shows_both() -> None:
    body = read_body(b"<Image><Id>abc</Id><Error><Message>no</Message></Error></Image>")
    assert (body.image_id, body.error, body.message) == ("abc", True, "no")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   ",
        b"<Image/>",
        b"<Image><Id/></Image>",
        b"<Image><Id> </Id></Image>",
        b"<Image><Id>two words</Id></Image>",
        b"<Image><Id>a\x7fb</Id></Image>",
        b"<Image><Id>" + b"a" * 500 + b"</Id></Image>",
        b"<Image><Id>abc</Id>",
        b"<Image><Id>abc",
        b"<Receipt><Id>abc</Id></Receipt>",
        b"<Image><Inner><Id>abc</Id></Inner></Image>",
        b"<html><body>OK <Id>abc</Id></body></html>",
        b"<html><body>OK<br></body>",
        b"{",
        b'{"Id":7}',
        b'{"Id":"abc"',
        b'["abc"]',
        b"[" * 60_000,
        b"<a>" * 20_000,
        b"\xff\xfe\x00",
        b"<?xml version='1.0' encoding='klingon'?><Image><Id>abc</Id></Image>",
        b"<!DOCTYPE Image><Image><Id>abc</Id></Image>",
        b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><Image><Id>&e;</Id></Image>",
        b"<!DOCTYPE a [<!ENTITY e 'abc'>]><Image><Id>&e;</Id></Image>",
    ],
)
def test_what_is_no_clear_image_has_no_id(content: bytes) -> None:
    assert read_body(content).image_id is None


def test_words_of_a_gateway_are_kept_short_and_plain() -> None:
    page = b"""<!DOCTYPE html><html><head><title>502 Bad Gateway</title><script>evil("x")</script></head>
    <body><h1>502 Bad&nbsp;Gateway</h1>\x1b[31mred\x00 \xe2\x80\xaereversed</body></html>"""
    body = read_body(page)
    assert not body.error
    assert plain(body.message) == "502 Bad Gateway 502 Bad Gateway [31mred reversed"
    assert len(plain(read_body(b"word " * 5000).message)) == MESSAGE_LENGTH


def test_no_body_within_the_limit_takes_long_to_read() -> None:
    started = time.process_time()
    for unit in (b"<", b"<script>", b"<a ", b"&amp;", b"[", b'{"a":', b"<a>", b"<!--", b"\xff", b"<![CDATA["):
        read_body(unit * (64 * 1024 // len(unit)))
    assert time.process_time() - started < 20


def test_a_line_has_no_line_breaks_of_any_kind() -> None:
    assert plain(" a\r\n\tb\u2028c\u202ed ") == "a b c d"
