"""The rival: a bare aiohttp loop. Reads each file and posts it, eight in flight.

No checks, no ledger, no fsync, no retry: what it loses in a crash is lost. It is the ceiling for any uploader
written in Python on aiohttp, so ingestd is measured as a share of it.
"""

import asyncio
import io
import os
import sys
from pathlib import Path

import aiohttp

IN_FLIGHT = 8


async def main(url: str, folder: Path) -> None:
    names = iter(sorted(entry.path for entry in os.scandir(folder) if entry.is_file()))

    async def post(session: aiohttp.ClientSession) -> None:
        for name in names:
            body = Path(name).read_bytes()
            headers = {"Content-Type": "image/jpeg", "Authorization": "Bearer x"}
            async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
                assert answer.status == 201
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:
        await asyncio.gather(*(post(session) for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
