import base64
from collections.abc import Mapping
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ingestd.domain.document import Document, InvalidDocument
from ingestd.domain.mail import Letter, Signature
from ingestd.interfaces import OpenedMessage
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.authentication_results import believed
from ingestd.sources.mail.authenticity import (
    CannotSayNow,
    FoundKeys,
    Proof,
    Prover,
    Standing,
    Weighed,
    wanted_keys,
    weigh,
)
from tests.unit.sources.mail.name_server import Clock, NameServer, name_server

OURS = "mx.example.com"
KEYS = (("bank.example", "s1"),)


def weighed(*fields: str, accept_spf: bool = True, domain: str = "bank.example") -> Weighed:
    return weigh(domain, believed([f"{OURS}; {field}" for field in fields], [OURS]), accept_spf=accept_spf)


def standing(*fields: str, accept_spf: bool = True, domain: str = "bank.example") -> Standing:
    return weighed(*fields, accept_spf=accept_spf, domain=domain).standing


# --- what servers say


@pytest.mark.parametrize(
    "results",
    [
        "dmarc=pass header.from=bank.example",
        "dmarc=pass (p=NONE sp=NONE) Header.From=BANK.example",
        "spf=fail smtp.mailfrom=list.example; dmarc=pass header.from=bank.example",
        "dkim=pass header.d=bank.example",
        "dkim=pass header.i=@bank.example header.s=s1 header.b=abc",
        "dkim=pass header.d=mail.bank.example",
        "dkim=fail header.d=bank.example; dkim=pass header.d=bank.example",
        "spf=pass smtp.mailfrom=ann@bank.example",
        "spf=pass smtp.mailfrom=bounce.bank.example",
        "dmarc=none header.from=bank.example; spf=pass smtp.mailfrom=bounce.bank.example",
        "dmarc=bestguesspass action=none header.from=bank.example; dkim=pass header.d=bank.example",
        "dmarc=temperror header.from=bank.example; dkim=pass header.d=bank.example",
    ],
)
def test_these_results_prove_the_domain(results: str) -> None:
    assert standing(results) is Standing.PROVED


@pytest.mark.parametrize(
    "results",
    [
        "none",
        "dmarc=pass",
        "dmarc=none header.from=bank.example",
        "dmarc=temperror header.from=bank.example",
        "dmarc=temperror header.from=bank.example; dkim=pass header.d=mail.bank.example",
        "dmarc=pass; spf=pass smtp.mailfrom=bounce.bank.example",
        "dkim=pass",
        "dkim=pass header.d=evil.example",
        "dkim=pass header.d=evil.example header.i=@bank.example",
        "dkim=pass header.d=bank.example header.d=evil.example",
        "dkim=pass header.d=example",
        "dkim=pass header.d=notbank.example",
        "dkim=pass header.s=bank.example",
        "dkim=policy header.d=bank.example",
        "dkim=neutral header.d=bank.example",
        "spf=softfail smtp.mailfrom=ann@bank.example",
        "spf=pass smtp.helo=bank.example",
        "spf=pass smtp.mailfrom=bank.example@evil.example",
        'spf=pass smtp.mailfrom="ann@bank.example"@evil.example',
        "spf=pass smtp.mailfrom=<ann@bank.example>",
        "sender-id=pass header.from=bank.example",
        "auth=pass smtp.auth=ann@bank.example",
        "arc=pass header.d=bank.example",
    ],
)
def test_these_results_leave_it_open(results: str) -> None:
    assert standing(results) is Standing.OPEN


@pytest.mark.parametrize(
    "results",
    [
        "dmarc=fail header.from=bank.example",
        "dmarc=fail header.from=bank.example; dkim=pass header.d=bank.example",
        "dmarc=fail header.from=bank.example; dmarc=pass header.from=bank.example",
        "dmarc=pass header.from=bank.example; dmarc=fail (odd) header.from=bank.example words",
        "dmarc=pass header.from=evil.example",
        "dmarc=pass header.from=mail.bank.example",
        "dmarc=pass header.from=bank.example; dmarc=pass header.from=evil.example",
    ],
)
@pytest.mark.parametrize("accept_spf", [True, False])
def test_a_dmarc_failure_or_another_domain_is_final(results: str, accept_spf: bool) -> None:
    assert standing(results, accept_spf=accept_spf) is Standing.DISPROVED


def test_where_dkim_is_required_nothing_else_proves() -> None:
    for results in ("dmarc=pass header.from=bank.example", "spf=pass smtp.mailfrom=ann@bank.example"):
        assert standing(results, accept_spf=False) is Standing.OPEN
    assert standing("dkim=pass header.d=bank.example", accept_spf=False) is Standing.PROVED


def test_a_domain_is_the_same_as_its_a_labels() -> None:
    domain = "xn--bcher-kva.example"
    assert standing("dmarc=pass header.from=bücher.example", domain=domain) is Standing.PROVED
    assert standing("dkim=pass header.d=XN--BCHER-KVA.example", domain=domain) is Standing.PROVED
    assert standing("dkim=pass header.d=bucher.example", domain=domain) is Standing.OPEN


# --- which keys are asked for


def test_only_keys_that_could_speak_for_from_are_asked_for() -> None:
    signatures = (
        Signature(domain="list.example", selector="s1"),
        Signature(domain="bank.example", selector="s1"),
        Signature(domain="bank.example", selector="s1"),
        Signature(domain="Mail.Bank.example", selector="a.b"),
        Signature(domain="192.0.2.1", selector="s1"),
        Signature(domain="example", selector="s1"),
        Signature(domain="bank.example", selector=""),
        Signature(domain="bank.example", selector="s1 "),
        Signature(domain="bank.example", selector="x" * 64),
    )
    letter = Letter(senders=("ann@bank.example",), signatures=signatures)
    assert wanted_keys(letter) == (("bank.example", "s1"), ("Mail.Bank.example", "a.b"))
    assert wanted_keys(letter, exactly=True) == (("bank.example", "s1"),)


def test_ten_keys_are_asked_for_and_not_more() -> None:
    noise = tuple(Signature(domain="evil.example", selector=f"n{number}") for number in range(20))
    many = tuple(Signature(domain="bank.example", selector=f"s{number}") for number in range(20))
    letter = Letter(senders=("ann@bank.example",), signatures=noise + many)
    assert wanted_keys(letter) == tuple(("bank.example", f"s{number}") for number in range(10))


@pytest.mark.parametrize("senders", [(), ("ann@bank.example", "eve@evil.example"), ("bank.example",)])
def test_no_key_is_asked_for_without_exactly_one_sender(senders: tuple[str, ...]) -> None:
    signatures = (Signature(domain="bank.example", selector="s1"),)
    assert wanted_keys(Letter(senders=senders, signatures=signatures)) == ()


# --- proving, with real keys from a real name server


class Opener:
    """Checks signatures with dkimpy in this process; counts how often it is asked."""

    def __init__(self) -> None:
        self.checked = 0

    async def open_message(self, message: Document) -> OpenedMessage | InvalidDocument:
        raise AssertionError("a prover opens nothing")

    async def signed_by(self, message: Document, keys: Mapping[tuple[str, str], bytes]) -> frozenset[str]:
        self.checked += 1
        records = {
            f"{selector}._domainkey.{domain}.".encode(): text for (domain, selector), text in keys.items()
        }
        verifier = dkim.DKIM(message.path.read_bytes())
        try:
            holds = verifier.verify(dnsfunc=lambda name, timeout=5: records.get(name))
        except dkim.ValidationError:
            holds = False
        return frozenset({verifier.domain.decode()}) if holds else frozenset()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def text_of(key: rsa.RSAPrivateKey) -> list[str]:
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    return [f'"{text[:200]}" "{text[200:]}"']


def signed(key: rsa.RSAPrivateKey, path: Path, *, signer: str = "bank.example") -> Document:
    body = (
        b"From: ann@bank.example\r\nSubject: Hotel\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBill\r\n"
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    raw = dkim.sign(body, b"s1", signer.encode(), private) + body
    return document(path, raw)


def document(path: Path, raw: bytes, sha256: str = "0" * 64) -> Document:
    path.write_bytes(raw)
    return Document(path=path, filename="m.eml", size=len(raw), sha256=sha256, declared_type=None)


def settings(**more: object) -> MailboxSettings:
    values: dict[str, object] = {"name": "receipts", "host": "localhost", "user": "receipts@example.com"}
    return MailboxSettings(**(values | more))  # type: ignore[arg-type] # each test names real settings


def letter_of(signer: str = "bank.example", *authentication: str) -> Letter:
    return Letter(
        senders=("ann@bank.example",),
        signatures=(Signature(domain=signer, selector="s1"),),
        authentication=authentication,
    )


def prover(server: NameServer, opener: Opener, clock: Clock | None = None, **more: object) -> Prover:
    return Prover(settings(**more), server.keys(clock_s=clock), opener, clock_s=clock or Clock())


async def test_an_aligned_signature_that_holds_proves_the_sender(
    key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    message = signed(key, tmp_path / "m")
    for require in ("dmarc", "dkim"):
        async with name_server() as server:
            server.texts["s1._domainkey.bank.example"] = text_of(key)
            proof = await prover(server, Opener(), require=require).prove(letter_of(), message)
        assert proof == Proof(True, "A DKIM signature of bank.example holds.")


async def test_a_message_changed_on_its_way_is_not_proved(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    message = signed(key, tmp_path / "m")
    message = document(tmp_path / "m", message.path.read_bytes().replace(b"Bill", b"Evil"))
    async with name_server() as server:
        server.texts["s1._domainkey.bank.example"] = text_of(key)
        proof = await prover(server, Opener()).prove(letter_of(), message)
    assert not proof.proved
    assert "no DKIM signature of bank.example holds" in proof.sentence


async def test_a_good_signature_of_another_domain_proves_nothing(
    key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    message = signed(key, tmp_path / "m", signer="evil.example")
    async with name_server() as server:
        server.texts["s1._domainkey.evil.example"] = text_of(key)
        proof = await prover(server, Opener()).prove(letter_of("evil.example"), message)
        assert not server.asked
    assert not proof.proved


async def test_a_prover_does_not_believe_an_opener_that_names_another_domain(tmp_path: Path) -> None:
    class Odd(Opener):
        async def signed_by(self, message: Document, keys: Mapping[tuple[str, str], bytes]) -> frozenset[str]:
            return frozenset({"evil.example", "example", ""})

    async with name_server() as server:
        server.texts["s1._domainkey.bank.example"] = ['"p=QUJD"']
        proof = await prover(server, Odd()).prove(letter_of(), document(tmp_path / "m", b""))
    assert not proof.proved


async def test_what_our_server_says_spares_the_check(tmp_path: Path) -> None:
    opener = Opener()
    message = document(tmp_path / "m", b"")
    async with name_server() as server:
        ours = prover(server, opener, trusted_authserv=(OURS,))
        good = letter_of("bank.example", f"{OURS}; dmarc=pass header.from=bank.example")
        assert (await ours.prove(good, message)).proved
        bad = letter_of("bank.example", f"{OURS}; dmarc=fail header.from=bank.example")
        proof = await ours.prove(bad, message)
        assert proof == Proof(False, "mx.example.com says that DMARC failed for bank.example.")
        assert not server.asked
    assert opener.checked == 0


async def test_a_strangers_results_are_nothing_to_a_mailbox_that_trusts_nobody(tmp_path: Path) -> None:
    letter = Letter(
        senders=("ann@bank.example",), authentication=(f"{OURS}; dmarc=pass header.from=bank.example",)
    )
    async with name_server() as server:
        proof = await prover(server, Opener()).prove(letter, document(tmp_path / "m", b""))
    assert not proof.proved
    assert "no trusted_authserv is set" in proof.sentence


async def test_after_a_dmarc_error_only_the_domain_itself_may_sign(
    key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    message = signed(key, tmp_path / "m", signer="mail.bank.example")
    async with name_server() as server:
        server.texts["s1._domainkey.mail.bank.example"] = text_of(key)
        ours = prover(server, Opener(), trusted_authserv=(OURS,))
        unchecked = letter_of("mail.bank.example", f"{OURS}; spf=none")
        assert (await ours.prove(unchecked, message)).proved
        broken = letter_of("mail.bank.example", f"{OURS}; dmarc=temperror header.from=bank.example")
        assert not (await ours.prove(broken, message)).proved


async def test_a_message_whose_key_cannot_be_asked_for_waits_an_hour_and_not_longer(tmp_path: Path) -> None:
    clock = Clock()
    message = document(tmp_path / "m", b"")
    async with name_server() as server:
        server.moods["s1._domainkey.bank.example"] = "servfail"
        ours = prover(server, Opener(), clock)
        for _ in range(4):
            with pytest.raises(CannotSayNow, match=r"keys of bank\.example"):
                await ours.prove(letter_of(), message)
            clock.now_s += 15 * 60
        assert not (await ours.prove(letter_of(), message)).proved


async def test_a_message_whose_key_comes_back_is_proved(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    clock = Clock()
    message = signed(key, tmp_path / "m")
    async with name_server() as server:
        server.moods["s1._domainkey.bank.example"] = "servfail"
        ours = prover(server, Opener(), clock)
        with pytest.raises(CannotSayNow):
            await ours.prove(letter_of(), message)
        server.moods.clear()
        server.texts["s1._domainkey.bank.example"] = text_of(key)
        clock.now_s += 60
        assert (await ours.prove(letter_of(), message)).proved
        assert not ours._waiting


async def test_one_good_signature_is_enough_whatever_the_others_do(
    key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    message = signed(key, tmp_path / "m")
    signatures = (*letter_of().signatures, Signature(domain="bank.example", selector="s2"))
    letter = Letter(senders=("ann@bank.example",), signatures=signatures)
    async with name_server() as server:
        server.texts["s1._domainkey.bank.example"] = text_of(key)
        server.moods["s2._domainkey.bank.example"] = "servfail"
        assert (await prover(server, Opener()).prove(letter, message)).proved


async def test_where_no_proof_is_required_none_is_looked_for(tmp_path: Path) -> None:
    async with name_server() as server:
        proof = await prover(server, Opener(), require="none").prove(
            letter_of(), document(tmp_path / "m", b"")
        )
        assert not server.asked
    assert proof.proved


async def test_the_memory_of_waiting_messages_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestd.sources.mail.authenticity._WAITING", 5)

    class Dead:
        async def find(self, wanted: object) -> FoundKeys:
            return FoundKeys({}, frozenset(KEYS))

    ours = Prover(settings(), Dead(), Opener())
    for number in range(20):
        with pytest.raises(CannotSayNow):
            await ours.prove(letter_of(), document(tmp_path / "m", b"", sha256=f"{number:064}"))
    assert len(ours._waiting) == 5
