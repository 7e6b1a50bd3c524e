from collections.abc import Callable
from typing import Any

import pytest

from ingestd.domain.mail import Letter, Signature
from ingestd.normalizer.exchange import MalformedAnswer, OutputFull
from ingestd.normalizer.exchange_mail import (
    MOST_LEFT_OUT,
    Automatic,
    Excuse,
    FoundLeaf,
    KeyRecord,
    LeftOut,
    Obstacle,
    Opened,
    OpenRequest,
    Unopened,
    Verified,
    VerifyRequest,
    read_opened,
    read_verified,
    write_answer,
)

ASKED = OpenRequest(size=100, max_leaves=3, max_bytes=1_000)
LETTER = Letter(
    senders=("ann@example.com",),
    recipients=("receipts@example.net",),
    subject="Hotel",
    message_id="<a@b>",
    references=("<a@b>",),
    return_path="",
    authentication=("mx; none",),
    signatures=(Signature(domain="example.com", selector="s"),),
    trace=3,
)
OPENED = Opened(
    letter=LETTER,
    automatic=Automatic.LIST,
    leaves=(
        FoundLeaf(name="a.pdf", declared_type="application/pdf", offset=0, size=10),
        FoundLeaf(name="b.eml", declared_type="message/rfc822", offset=10, size=5, text=True),
    ),
    left_out=(LeftOut(name="logo.png", excuse=Excuse.LOGO),),
)


def json_of(answer: Opened | Unopened | Verified) -> dict[str, Any]:
    """As it arrives: JSON knows no tuples."""

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(one) for key, one in value.items()}
            case list() | tuple():
                return [plain(one) for one in value]
        return value

    return {**plain(write_answer(answer))}


def test_what_is_written_is_read_again() -> None:
    assert read_opened(json_of(OPENED), asked=ASKED) == OPENED
    unopened = Unopened(obstacle=Obstacle.TOO_LARGE, numbers={"limit": 5})
    assert read_opened(json_of(unopened), asked=ASKED) == unopened
    request = VerifyRequest(size=1, keys=(KeyRecord(domain="a", selector="s", record="p="),), now=1)
    assert (
        VerifyRequest.read({**request.write(), "keys": [{"domain": "a", "selector": "s", "record": "p="}]})
        == request
    )
    assert OpenRequest.read(ASKED.write()) == ASKED


def test_a_full_disk_is_nothing_about_the_message() -> None:
    with pytest.raises(OutputFull):
        read_opened({"answer": "NoRoom"}, asked=ASKED)


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no answer": lambda told: told.clear(),
    "a line break in the subject": lambda told: told["letter"].update(subject="a\r\nBcc: b"),
    "a control character in a sender": lambda told: told["letter"].update(senders=["a\x1b@b"]),
    "a sender that is no text": lambda told: told["letter"].update(senders=[1]),
    "far too many recipients": lambda told: told["letter"].update(recipients=["a@b"] * 1_001),
    "an endless subject": lambda told: told["letter"].update(subject="x" * 8_001),
    "too many signatures": lambda told: told["letter"].update(
        signatures=[{"domain": "a", "selector": "b"}] * 11
    ),
    "a signature of another shape": lambda told: told["letter"].update(signatures=[{"domain": 1}]),
    "words of its own": lambda told: told["letter"].update(unanswerable="click here"),
    "an unknown reason": lambda told: told.update(automatic="because"),
    "an unknown excuse": lambda told: told["left_out"][0].update(excuse="because"),
    "more leaves than asked for": lambda told: told.update(leaves=told["leaves"] * 2),
    "far too much left out": lambda told: told.update(left_out=told["left_out"] * (MOST_LEFT_OUT + 1)),
    "leaves that overlap": lambda told: told["leaves"][1].update(offset=5),
    "a gap between leaves": lambda told: told["leaves"][1].update(offset=11),
    "a negative size": lambda told: told["leaves"][0].update(size=-1),
    "more bytes than asked for": lambda told: told["leaves"][1].update(size=1_000),
    "the message itself beside others": lambda told: told["leaves"][1].update(whole=True, size=0),
    "a whole message that is no text": lambda told: told.update(
        leaves=[{**told["leaves"][1], "offset": 0, "size": 0, "whole": True, "text": False}]
    ),
    "a negative trace": lambda told: told["letter"].update(trace=-1),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_nobody_answers_is_not_believed(lie: Callable[[dict[str, Any]], object]) -> None:
    told = json_of(OPENED)
    lie(told)
    with pytest.raises(MalformedAnswer):
        read_opened(told, asked=ASKED)


def test_names_are_made_presentable() -> None:
    told = json_of(OPENED)
    told["leaves"][0]["name"] = "../../etc/\u202epasswd\n.pdf"
    told["left_out"][0]["name"] = "\x00"
    found = read_opened(told, asked=ASKED)
    assert isinstance(found, Opened)
    assert (found.leaves[0].name, found.left_out[0].name) == (".._.._etc_passwd.pdf", "unnamed")


@pytest.mark.parametrize("domains", [["other.example"], [1], "example.com", ["example.com", "other.example"]])
def test_only_domains_that_were_asked_about_are_verified(domains: object) -> None:
    asked = VerifyRequest(size=1, keys=(KeyRecord(domain="example.com", selector="s", record=""),), now=1)
    assert read_verified({"answer": "Verified", "domains": ["example.com"]}, asked=asked).domains == (
        "example.com",
    )
    with pytest.raises(MalformedAnswer):
        read_verified({"answer": "Verified", "domains": domains}, asked=asked)


def test_an_obstacle_nobody_knows_is_not_believed() -> None:
    for lie in ({"obstacle": "because"}, {"numbers": {"limit": "x"}}, {"numbers": {"limit": 1 << 64}}):
        told = {**json_of(Unopened(obstacle=Obstacle.TANGLED)), **lie}
        with pytest.raises(MalformedAnswer):
            read_opened(told, asked=ASKED)
