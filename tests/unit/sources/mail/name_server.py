"""A real DNS server on loopback (UDP and TCP) that says what the test wrote down, or misbehaves as asked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from ingestd.sources.mail.dns_keys import DnsKeys


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """`texts` maps names to the TXT records' texts in presentation form; `moods` names to misbehaviour."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    moods: dict[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    ttl_s: int = 300
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    _transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked[name] += 1
        mood = self.moods.get(name)
        if mood != "silent":
            assert self._transport is not None
            answer = b"\xff" * 40 if mood == "garbage" else self._answer(query, name)
            if len(answer) > query.payload:
                answer = self._truncated(query)
            self._transport.sendto(answer, addr)

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One query over TCP (RFC 1035 section 4.2.2)."""
        size = int.from_bytes(await reader.readexactly(2), "big")
        query = dns.message.from_wire(await reader.readexactly(size))
        answer = self._answer(query, query.question[0].name.to_text(omit_final_dot=True))
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def keys(self, *, deadline: timedelta = timedelta(seconds=5), clock_s: "Clock | None" = None) -> DnsKeys:
        return DnsKeys(
            nameservers=["127.0.0.1"], port=self.port, deadline=deadline, clock_s=clock_s or Clock()
        )

    def _truncated(self, query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response.to_wire()

    def _answer(self, query: dns.message.Message, name: str) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.moods.get(name) == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire(max_size=65535)
        target = self.aliases.get(name)
        if target is not None:
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", "CNAME", f"{target}."))
            name = target
        texts = self.texts.get(name)
        if texts is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif texts:
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", "TXT", *texts))
        return response.to_wire(max_size=65535)


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    server = NameServer()
    loop = asyncio.get_running_loop()
    streams = await asyncio.start_server(server.serve_stream, "127.0.0.1", 0)
    port = streams.sockets[0].getsockname()[1]
    async with streams:
        transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
        try:
            yield server
        finally:
            transport.close()
