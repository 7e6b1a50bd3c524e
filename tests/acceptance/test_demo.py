"""The demo, played once as a newcomer would: it judges itself by what its sandbox holds."""

import json
import subprocess
from pathlib import Path

from tests.acceptance.place import PROGRAM, ROOT, files_below


def test_the_demo_ends_well_and_leaves_its_folder_for_looking(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    done = subprocess.run(
        [*PROGRAM, "demo", "-d", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Each file ended as it should" in done.stdout
    assert "NOT AS IT SHOULD BE" not in done.stdout
    assert f"cat {place}/inbox/rejected/bank-statement.pdf.reason.txt" in done.stdout, "what to try next"
    assert (place / "inbox/rejected/bank-statement.pdf.reason.txt").is_file()

    left = files_below(place / "inbox", ignored=(".ingestd",))
    assert len([path for path in left if path.startswith("uploaded/") and not path.endswith(".txt")]) == 13
    assert len([path for path in left if path.startswith("rejected/") and not path.endswith(".txt")]) == 3
    asked = subprocess.run(
        [*PROGRAM, "balance", "--json", "--config", str(place / "ingestd.toml")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    books = json.loads(asked.stdout)
    assert books | {"closed": True, "seen": 16, "uploaded": 11, "rejected": 3, "sightings": 1} == books

    again = subprocess.run(
        [*PROGRAM, "demo", "-d", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert again.returncode == 2 and "is not empty" in again.stderr, "it plays over nobody's files"
