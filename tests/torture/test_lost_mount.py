"""A share that goes away while it is watched; needs the right to mount."""

import asyncio
import subprocess
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.sources.conftest import WAIT_S, Inbox, until


async def test_a_share_that_went_away_is_not_mistaken_for_an_empty_folder(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.path.mkdir()

    def mounted(*command: str) -> bool:
        return subprocess.run([*command, inbox.path]).returncode == 0

    if not mounted("mount", "-t", "tmpfs", "tmpfs"):
        pytest.skip("could not do it here: a tmpfs can't be mounted")
    source = inbox.source(rescan=timedelta(seconds=0.2))
    try:
        async with aclosing(source.arrivals(once=False)) as arrivals:
            waiting = asyncio.ensure_future(anext(arrivals))
            await until(lambda: source.status.scans > 0)
            assert mounted("umount", "-l")
            await until(lambda: source.status.trouble is not None)
            assert "suddenly empty" in (source.status.trouble or "")
            assert list(inbox.path.iterdir()) == []
            assert mounted("mount", "-t", "tmpfs", "tmpfs")
            inbox.drop("back.jpg")
            async with asyncio.timeout(WAIT_S):
                arrival = await waiting
            assert arrival.origin.path == "back.jpg"
            await arrival.acknowledge()
    finally:
        mounted("umount", "-l")
