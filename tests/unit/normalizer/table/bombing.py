"""A process like the daemon, that prepares every file of a directory and then tells how it fared, as JSON.

    python -m tests.unit.normalizer.table.bombing DIRECTORY

Run in a process of its own, so that its memory is the normalizer's: the bombs are made elsewhere.
"""

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

from ingestd.domain.document import InvalidDocument
from tests.traps.workbench import Workbench


def main(directory: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place, Workbench(Path(place)) as bench:
        gc.collect()
        before_mb = memory_mb("VmRSS")
        told: dict[str, dict[str, object]] = {}
        for path in sorted(directory.iterdir()):
            started = time.monotonic()
            unpacked = bench.unpack_file(path)
            result = bench.prepare_file(path)
            told[path.name] = {
                "unpacked": unpacked is not None,
                "reason": result.reason if isinstance(result, InvalidDocument) else None,
                "seconds": round(time.monotonic() - started, 2),
            }
        return {
            "files": told,
            "grown_mb": memory_mb("VmHWM") - before_mb,
            "leftovers": bench.leftovers(),
            "workers": bench.worker_count(),
            "losses": [lost.kind for lost in bench.offload.losses],
        }


def memory_mb(name: str) -> float:
    """VmRSS, what is resident now, or VmHWM, the most that ever was (proc_pid_status(5))."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
