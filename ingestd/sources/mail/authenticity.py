"""Whether a message is really from the domain its From names (RFC 7489, RFC 8601, RFC 6376).

What our own server found out is weighed first; what it leaves open is settled by the DKIM signatures, checked
by us. Whoever can't be asked now is asked again later, but not for ever.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from typing import Protocol

from ingestd.domain.document import Document
from ingestd.domain.mail import Letter
from ingestd.interfaces import MailOpener
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.addresses import canonical_address, canonical_domain, domain_of, is_aligned
from ingestd.sources.mail.authentication_results import Result, ServerResults, believed
from ingestd.sources.mail.exchange import is_internal

MOST_SIGNATURES = 10
"""DKIM signatures looked at: each one costs a DNS query and a pass over the message."""

PATIENCE = timedelta(hours=1)
"""How long a message waits for keys that can't be asked for, before it counts as not signed."""

_WAITING = 1000
"""Messages whose waiting is remembered; the oldest is forgotten and waits anew."""


class CannotSayNow(Exception):
    """Whether the message is genuine can't be said now; it should be judged again later."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether From is proved, and how or why not: a sentence."""

    proved: bool
    sentence: str


UNASKED = Proof(False, "Nobody asked whether it is genuine.")
"""For messages of strangers, which are not worth asking about."""


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """TXT records by (domain, selector), and the names that could not be asked for now."""

    records: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    unavailable: frozenset[tuple[str, str]] = frozenset()


class Keys(Protocol):
    async def find(self, wanted: Collection[tuple[str, str]]) -> FoundKeys: ...


class Standing(Enum):
    PROVED = auto()
    DISPROVED = auto()
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the servers' results are worth. `exactly`: subdomains do not count, as far as we know."""

    standing: Standing
    sentence: str = ""
    exactly: bool = False


class Prover:
    """Proves messages of one mailbox, as its `require` says."""

    def __init__(
        self,
        settings: MailboxSettings,
        keys: Keys,
        opener: MailOpener,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._opener = opener
        self._clock_s = clock_s
        self._waiting: OrderedDict[str, float] = OrderedDict()

    async def prove(self, letter: Letter, message: Document) -> Proof:
        """Raises CannotSayNow while DNS does not answer, and what MailOpener raises."""
        if self._settings.require == "none":
            return Proof(True, "No proof is asked for.")
        domain = from_domain(letter)
        if domain is None:
            return Proof(False, "It has not exactly one From address.")
        fields = believed(letter.authentication, self._settings.trusted_authserv)
        weighed = weigh(domain, fields, accept_spf=self._settings.require == "dmarc")
        if weighed.standing is Standing.OPEN and await self._is_colleague(domain, message):
            return Proof(True, f"Exchange says that a colleague of {domain} sent it.")
        if weighed.standing is Standing.OPEN:
            return await self._by_signature(letter, message, domain, weighed)
        return Proof(weighed.standing is Standing.PROVED, weighed.sentence)

    async def _is_colleague(self, domain: str, message: Document) -> bool:
        """Only of domains that `allow` writes out: Exchange lets colleagues name other ones, too."""
        if not self._settings.exchange_internal or domain not in named_domains(self._settings.allow):
            return False
        return await asyncio.to_thread(is_internal, message.path)

    async def _by_signature(self, letter: Letter, message: Document, domain: str, weighed: Weighed) -> Proof:
        wanted = wanted_keys(letter, exactly=weighed.exactly)
        found = await self._keys.find(wanted) if wanted else FoundKeys()
        signers = await self._opener.signed_by(message, found.records) if found.records else frozenset()
        for signer in sorted(signers):
            name = canonical_domain(signer)
            if name is not None and is_aligned(name, domain, exactly=weighed.exactly):
                self._waiting.pop(message.sha256, None)
                return Proof(True, f"A DKIM signature of {name} holds.")
        if found.unavailable:
            self._wait(message, found.unavailable)
        return Proof(False, _unproved(domain, wanted, weighed, self._settings.trusted_authserv))

    def _wait(self, message: Document, unavailable: Collection[tuple[str, str]]) -> None:
        """Raises CannotSayNow until the message has waited long enough."""
        now = self._clock_s()
        since = self._waiting.setdefault(message.sha256, now)
        if now - since < PATIENCE.total_seconds():
            while len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
            names = ", ".join(sorted({domain for domain, _ in unavailable}))
            raise CannotSayNow(f"The DKIM keys of {names} can't be had: DNS does not answer.")
        del self._waiting[message.sha256]


def named_domains(allow: Collection[str]) -> frozenset[str]:
    """The domains that patterns of senders write out, without any `*`."""
    domains = (canonical_domain(pattern.rpartition("@")[2]) for pattern in allow if "@" in pattern)
    return frozenset(domain for domain in domains if domain is not None and "*" not in domain)


def from_domain(letter: Letter) -> str | None:
    """The domain of the single From address; None when there is no such address."""
    if len(letter.senders) != 1:
        return None
    address = canonical_address(letter.senders[0])
    return None if address is None else domain_of(address)


def wanted_keys(letter: Letter, *, exactly: bool = False) -> tuple[tuple[str, str], ...]:
    """(domain, selector) as the signatures write them, of those that could speak for From; at most ten.

    Others are not asked for: a stranger does not make us query any name he likes.
    """
    domain = from_domain(letter)
    if domain is None:
        return ()
    wanted: dict[tuple[str, str], None] = {}
    for signature in letter.signatures:
        signer = canonical_domain(signature.domain)
        selector = canonical_domain(f"{signature.selector}._domainkey.{signer}")
        if signer is not None and selector is not None and is_aligned(signer, domain, exactly=exactly):
            wanted[signature.domain, signature.selector] = None
    return tuple(wanted)[:MOST_SIGNATURES]


# --- what servers say


def weigh(domain: str, fields: Sequence[ServerResults], *, accept_spf: bool) -> Weighed:
    """What believed results say about From being of this domain.

    A DMARC failure is final: a domain may ask for more than we can see (strict alignment). A DMARC pass for
    this very domain proves it. Where DMARC was not checked, or the domain has no policy, an aligned DKIM
    pass or, with `accept_spf`, an aligned SPF pass is what DMARC would have asked for (RFC 7489 section 3.1);
    where it could not be checked, only one of exactly this domain. Without `accept_spf` it is DKIM alone that
    proves.
    """
    results = [(found.authserv_id, result) for found in fields for result in found.results]
    checked = [(server, result) for server, result in results if result.method == "dmarc"]
    for server, result in checked:
        if _contradicts(result, domain):
            return Weighed(Standing.DISPROVED, f"{_name(server)} says that DMARC failed for {domain}.")
    if accept_spf:
        for server, result in checked:
            if result.result == "pass" and _dmarc_domain(result) == domain:
                return Weighed(Standing.PROVED, f"{_name(server)} says that DMARC passed for {domain}.")
    exactly = any(result.result not in _NO_POLICY for _, result in checked) and accept_spf
    for server, result in results:
        signer = _passed(result, accept_spf=accept_spf)
        if signer is not None and is_aligned(signer, domain, exactly=exactly):
            what = f"{result.method.upper()} passed for {signer}"
            return Weighed(Standing.PROVED, f"{_name(server)} says that {what}.")
    return Weighed(Standing.OPEN, exactly=exactly)


_NO_POLICY = frozenset({"none", "bestguesspass"})
"""The domain publishes no policy; the second is Exchange Online's word for: a usual one would have passed."""


def _contradicts(result: Result, domain: str) -> bool:
    if result.result == "fail":
        return True
    return result.result == "pass" and _dmarc_domain(result) not in (None, domain)


def _dmarc_domain(result: Result) -> str | None:
    return _domain_in(result.properties.get("header.from"))


def _passed(result: Result, *, accept_spf: bool) -> str | None:
    """The domain that passed. Some servers give `i=` only, which lies within `d=` (RFC 6376 section 3.5)."""
    if result.result != "pass":
        return None
    properties = result.properties
    if result.method == "dkim":
        return _domain_in(properties.get("header.d", properties.get("header.i")))
    if result.method == "spf" and accept_spf:
        return _domain_in(properties.get("smtp.mailfrom"))
    return None


def _domain_in(value: str | None) -> str | None:
    return None if value is None else canonical_domain(value.rpartition("@")[2])


def _name(authserv_id: str) -> str:
    return authserv_id or "Our mail server"


def _unproved(
    domain: str, wanted: Sequence[tuple[str, str]], weighed: Weighed, trusted: Collection[str]
) -> str:
    signed = f"no DKIM signature of {domain} holds" if wanted else f"it has no DKIM signature of {domain}"
    if not trusted:
        return f"Nothing proves that it comes from {domain}: {signed}, and no trusted_authserv is set."
    return (
        f"Nothing proves that it comes from {domain}: {signed}, and the topmost Authentication-Results field "
        f"of {' or '.join(sorted(server or 'our mail server' for server in trusted))} does not say so."
    )
