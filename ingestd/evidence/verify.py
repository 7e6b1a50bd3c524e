"""Proves this bundle without ingestd: run `python3 verify.py` where it was unpacked (Python 3.8 or newer).

1. Every file has the size and the sha256 that manifest.json says, and there is no other file.
2. Every history is complete and unchanged: each row's digest covers the row and the digest before it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def problems(here: Path) -> list[str]:
    manifest = json.loads((here / "manifest.json").read_bytes())
    expected = {"manifest.json", *(member["name"] for member in manifest["members"])}
    there = {path.relative_to(here).as_posix() for path in here.rglob("[!.]*") if path.is_file()}
    found = [f"{name}: is not in the manifest" for name in sorted(there - expected)]
    found += [
        f"{member['name']}: is missing or was changed"
        for member in manifest["members"]
        if sha256_and_size(here / member["name"]) != (member["sha256"], member["size"])
    ]
    for receipt in manifest["receipts"]:
        rows = json.loads((here / receipt["folder"] / "history.json").read_bytes())
        found += chain_problems(receipt, rows)
    return found


def sha256_and_size(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    if path.is_file():
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
                size += len(piece)
    return digest.hexdigest(), size if path.is_file() else -1


def chain_problems(receipt: dict[str, object], rows: list[dict[str, object]]) -> list[str]:
    previous, state = "", None
    for number, row in enumerate(rows, 1):
        told = [row[name] for name in ("at", "event", "before", "after", "actor", "reason")]
        text = json.dumps([previous, receipt["id"], number, *told], separators=(",", ":"))
        if row["digest"] != hashlib.sha256(text.encode()).hexdigest() or row["before"] != state:
            return [f"{receipt['id']}: row {number} of its history was changed, or one before it is missing"]
        previous, state = str(row["digest"]), row["after"]
    if (len(rows), previous) != (receipt["version"], receipt["head"]):
        return [f"{receipt['id']}: its history has {len(rows)} rows and does not end as the ledger says"]
    return []


if __name__ == "__main__":
    wrong = problems(Path(__file__).resolve().parent)
    sys.stdout.write("\n".join(wrong or ["All is proved: every file and every history."]) + "\n")
    sys.exit(1 if wrong else 0)
