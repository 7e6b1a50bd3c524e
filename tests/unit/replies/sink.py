"""A real SMTP server on a free loopback port: what it received, and what it was told to refuse.

With TLS, STARTTLS and AUTH as asked; its CA is made for the occasion. Scripted servers stand beside it, for
what no honest server does.
"""

import asyncio
import ipaddress
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USER, PASSWORD = "receipts@example.com", "correct-horse-battery"


@dataclass
class Received:
    sender: str
    recipients: list[str]
    content: bytes
    options: list[str]
    encrypted: bool
    user: str


@dataclass
class Sink:
    """`refuse` maps a step (`MAIL <>` is the null sender only) to the reply it gets."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)
    connections: int = 0
    steps: list[str] = field(default_factory=list)

    async def handle_EHLO(  # noqa: N802 -- the hook's name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.steps.append(f"EHLO {hostname}")
        return responses

    async def handle_MAIL(  # noqa: N802 -- the hook's name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        sender = address.strip("<>")  # aiosmtpd hands over the null sender as <>
        self.steps.append(f"MAIL <{sender}>")
        refusal = self.refuse.get(f"MAIL <{sender}>") or self.refuse.get("MAIL")
        if refusal is not None:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 -- the hook's name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.steps.append(f"RCPT <{address}>")
        refusal = self.refuse.get(f"RCPT after {envelope.mail_from}") or self.refuse.get("RCPT")
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 -- the hook's name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.steps.append("DATA")
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        assert isinstance(envelope.content, bytes)
        self.received.append(
            Received(
                sender=(envelope.mail_from or "").strip("<>"),
                recipients=list(envelope.rcpt_tos),
                content=envelope.content,
                options=list(envelope.mail_options),
                encrypted=session.ssl is not None,
                user=self.logins[-1] if session.authenticated else "",
            )
        )
        return "250 OK"

    def log_in(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)


@dataclass(frozen=True)
class Authority:
    """Files in PEM: the CA, and what a server for localhost and 127.0.0.1 proves itself with."""

    ca: Path
    server: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context


@asynccontextmanager
async def sink(
    *,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    auth: bool = False,
    utf8: bool = True,
) -> AsyncIterator[Sink]:
    here = Sink()
    protocols: list[SMTP] = []

    def new_connection() -> SMTP:
        here.connections += 1
        with warnings.catch_warnings():
            # aiosmtpd finds a login without STARTTLS unwise, also where all is TLS from the first byte.
            warnings.simplefilter("ignore", UserWarning)
            server = SMTP(
                here,
                enable_SMTPUTF8=utf8,
                hostname="sink.example.com",
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=auth,
                auth_require_tls=starttls is not None,
                authenticator=here.log_in if auth else None,
                timeout=20,
                loop=asyncio.get_running_loop(),
            )
        protocols.append(server)
        return server

    server = await asyncio.get_running_loop().create_server(new_connection, "127.0.0.1", 0, ssl=tls)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        await server.wait_closed()
        for protocol in protocols:
            if protocol.transport is not None:
                protocol.transport.close()
        await asyncio.sleep(0.02)  # for the ends of the connections


@asynccontextmanager
async def scripted(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """The port of a server that says what it is told to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.02)


def make_authority(folder: Path) -> Authority:
    ca_key, ca = _certificate("ingestd test CA", signer=None)
    key, certificate = _certificate("localhost", signer=(ca_key, ca))
    authority = Authority(ca=folder / "ca.pem", server=folder / "server.pem")
    authority.ca.write_bytes(ca.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    authority.server.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return authority


def _certificate(
    name: str, *, signer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    builder = (
        x509.CertificateBuilder(
            issuer_name=signer[1].subject if signer else subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
        )
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if signer is not None:
        builder = builder.add_extension(names, critical=False)
    return key, builder.sign(signer[0] if signer else key, hashes.SHA256())
