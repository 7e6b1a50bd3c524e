"""DKIM keys from DNS (RFC 6376 section 3.6.2): asked for with a deadline, and remembered for a while.

A name that has no key is an answer; a DNS that does not answer is none, and is told apart.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

from ingestd.sources.mail.addresses import canonical_domain
from ingestd.sources.mail.authenticity import FoundKeys

DEADLINE = timedelta(seconds=5)
SHORTEST_TTL_S = 60.0
LONGEST_TTL_S = 3600.0
"""A key that was withdrawn is believed no longer than this."""

NONE_TTL_S = 60.0
"""How long a missing key is remembered: a new one should work soon."""

UNAVAILABLE_TTL_S = 15.0
"""How long a DNS that did not answer is not asked again: or each message of a backlog waits the deadline."""

LONGEST_RECORD = 4096
"""Bytes; an RSA key of 16,384 bits takes 2,800 in base64."""

REMEMBERED = 1000
"""Answers kept; the oldest goes."""

_EDNS_BYTES = 1232  # fits every path without fragments; a long key still comes in one datagram


@dataclass(frozen=True, slots=True)
class _Answer:
    """`record` None: there is no key. `known` False: nobody could say."""

    record: bytes | None
    known: bool
    until_s: float


class DnsKeys:
    """Asks the system's name servers, or those given; each call at most `deadline`, all names at once."""

    def __init__(
        self,
        *,
        nameservers: Sequence[str] | None = None,
        port: int = 53,
        deadline: timedelta = DEADLINE,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nameservers = nameservers
        self._port = port
        self._deadline_s = deadline.total_seconds()
        self._clock_s = clock_s
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    async def find(self, wanted: Collection[tuple[str, str]]) -> FoundKeys:
        """The records of these (domain, selector). Never raises for what DNS answers or does not."""
        pairs = list(dict.fromkeys(wanted))
        answers = await asyncio.gather(*(self._answer(domain, selector) for domain, selector in pairs))
        return FoundKeys(
            {pair: answer.record for pair, answer in zip(pairs, answers, strict=True) if answer.record},
            frozenset(pair for pair, answer in zip(pairs, answers, strict=True) if not answer.known),
        )

    async def _answer(self, domain: str, selector: str) -> _Answer:
        signer = canonical_domain(domain)
        name = canonical_domain(f"{selector}._domainkey.{signer}")
        if signer is None or name is None:
            return _Answer(None, True, 0.0)
        kept = self._answers.get(name)
        if kept is None or kept.until_s <= self._clock_s():
            kept = await self._ask(name)
            self._answers[name] = kept
            self._answers.move_to_end(name)
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return kept

    async def _ask(self, name: str) -> _Answer:
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await self._resolver().resolve(f"{name}.", "TXT", raise_on_no_answer=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN):
            return self._kept(None, NONE_TTL_S)
        except (TimeoutError, OSError, dns.exception.DNSException):
            # Silence, SERVFAIL, answers that make no sense, no name server configured: it may get better.
            return _Answer(None, False, self._clock_s() + UNAVAILABLE_TTL_S)
        if answer.rrset is None:
            return self._kept(None, NONE_TTL_S)
        record = _key_record([rdata.strings for rdata in answer.rrset if isinstance(rdata, TXT)])
        return self._kept(record, min(max(answer.rrset.ttl, SHORTEST_TTL_S), LONGEST_TTL_S))

    def _kept(self, record: bytes | None, ttl_s: float) -> _Answer:
        return _Answer(record, True, self._clock_s() + ttl_s)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made anew each time: the system's configuration changes during a run of years."""
        resolver = dns.asyncresolver.Resolver(configure=self._nameservers is None)
        if self._nameservers is not None:
            resolver.nameservers = list(self._nameservers)
            resolver.port = self._port
        resolver.lifetime = self._deadline_s
        resolver.use_edns(0, 0, _EDNS_BYTES)
        return resolver


def _key_record(texts: Sequence[Sequence[bytes]]) -> bytes | None:
    """The one record that is a key; None when there is none, or several: nobody says which one counts.

    Beside it a wildcard may put others there (SPF); `v=` may be left out (RFC 6376 section 3.6.1), `p=` not.
    """
    records = [b"".join(strings) for strings in texts]
    keys = [record for record in records if len(record) <= LONGEST_RECORD and _looks_like_key(record)]
    return keys[0] if len(keys) == 1 else None


def _looks_like_key(record: bytes) -> bool:
    tags = [tag.partition(b"=")[0].strip() for tag in record.split(b";")]
    if b"v" in tags and not b"".join(record.split()).startswith(b"v=DKIM1"):
        return False
    return b"p" in tags
