"""What the kernel says about processes."""

import asyncio
from pathlib import Path


def is_alive(process: int) -> bool:
    """Not gone, and not only waiting for whoever adopted it."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(process: int) -> None:
    async with asyncio.timeout(10):
        while is_alive(process):
            await asyncio.sleep(0.01)


def children_of(process: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(after_name[1]) == process:
                found.append(int(entry.name))
    return found
