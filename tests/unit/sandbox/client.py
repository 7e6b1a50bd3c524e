"""A client that speaks to a sandbox from outside, and real documents for it to send."""

import asyncio
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal
from xml.etree.ElementTree import Element

import aiohttp
from defusedxml.ElementTree import fromstring
from pypdf import PdfWriter

NAMESPACE = "{http://www.concursolutions.com/api/image/2011/02}"
API = "/api/image/v1.0"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> Element:
        root: Element = fromstring(self.body)
        return root

    @property
    def image_id(self) -> str:
        return self._text("Id")

    @property
    def url(self) -> str:
        return self._text("Url")

    @property
    def message(self) -> str:
        assert self.xml.tag == "Error"
        return self.xml.findtext("Message") or ""

    def _text(self, name: str) -> str:
        assert self.xml.tag == f"{NAMESPACE}Image"
        found = self.xml.find(NAMESPACE + name)
        assert found is not None
        return found.text or ""


class Client:
    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.session = session

    async def post(
        self,
        slot: str,
        content: Any = None,
        *,
        content_type: str = "image/jpeg",
        authorization: str | None = "Bearer good",
        headers: dict[str, str] | None = None,
        follow: bool = False,
    ) -> Answer:
        every = {"Content-Type": content_type, **(headers or {})}
        if authorization is not None:
            every["Authorization"] = authorization
        data = jpeg() if content is None else content
        if isinstance(data, bytes) and len(data) > 2**20:
            data = BytesIO(data)  # aiohttp warns of large plain bytes
        url = f"{self.base}{API}/{slot}"
        async with self.session.post(url, data=data, headers=every, allow_redirects=follow) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def get(
        self, slot: str, *, authorization: str | None = "Bearer good", accept: str = "application/xml"
    ) -> Answer:
        headers = {"Accept": accept}
        if authorization is not None:
            headers["Authorization"] = authorization
        return await self.fetch(f"{self.base}{API}/{slot}", headers)

    async def fetch(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        async with self.session.get(url, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def images(self, query: str = "") -> list[dict[str, Any]]:
        listing = await self.own("GET", "images" + query)
        images: list[dict[str, Any]] = listing["images"]
        return images

    async def plan(self, *faults: dict[str, Any], **rest: Any) -> None:
        await self.own("PUT", "faults", {"faults": list(faults), **rest})

    async def own(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self.base}/_sandbox/{path}"
        async with self.session.request(method, url, json=body) as response:
            assert response.status in (200, 204), await response.text()
            return await response.json() if response.status == 200 else None

    async def raw(self, request: bytes) -> bytes:
        """Everything the sandbox says on a connection of its own that carries exactly these bytes."""
        host, port = self.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            await writer.wait_closed()


def jpeg(size: int = 1000) -> bytes:
    """The frame of an 8 x 8 grey JPEG; nothing in it can be decoded further, and nothing needs to."""
    frame = b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, 8, 8, 1, 1, 0x11, 0)
    return (b"\xff\xd8" + frame + b"\xff\xda\x00\x02").ljust(size - 2, b"\x00") + b"\xff\xd9"


def png(*, alpha: bool = False, palette: bytes = b"") -> bytes:
    """2 x 2 pixels: RGB, RGBA, or indices 0 and 1 into a palette."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 3 if palette else 6 if alpha else 2, 0, 0, 0)
    row = b"\x00\x01" if palette else b"\x10\x20\x30\x40"[: 4 if alpha else 3] * 2
    chunks = [
        (b"IHDR", header),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress((b"\x00" + row) * 2)),
        (b"IEND", b""),
    ]
    wanted = (chunk(name, data) for name, data in chunks if palette or name != b"PLTE")
    return b"\x89PNG\r\n\x1a\n" + b"".join(wanted)


def pdf(
    pages: int = 1,
    *,
    password: str | None = None,
    owner_only: bool = False,
    algorithm: Literal["RC4-128", "AES-256"] = "RC4-128",
) -> bytes:
    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(200, 300)
    if password is not None:
        writer.encrypt("" if owner_only else password, password, algorithm=algorithm)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()
