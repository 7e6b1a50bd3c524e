"""A decoder that was taken over gets nothing: no file, no network, no process, no secret.

Each attempt is made by a real confined worker; the kernel's refusal comes back as an errno.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingestd.offload.lockdown import LAYERS
from ingestd.offload.pool import Offload
from tests.unit.offload.conftest import StartPool

BY_SYSTEM_CALLS = {
    "open": "EPERM",
    "read environ": "EPERM",
    "list": "EPERM",
    "unlink": "EPERM",
    "chmod": "EPERM",
    "rename": "EPERM",
    "stat": "EPERM",
    "socket": "EPERM",
    "unix socket": "EPERM",
    "socketpair": "EPERM",
    "fork": "EPERM",
    "exec": "EPERM",
    "run": "EPERM",
    "kill": "EPERM",
    "probe": "EPERM",
    "ptrace": "EPERM",
    "limit": "EPERM",
    "memfd": "EPERM",
    "machine code": "EPERM",
    "dumpable": "EPERM",
    "root": "EPERM",
    "x32": "ENOSYS",
    "io_uring": "ENOSYS",
}

BY_LANDLOCK = {
    "open": "EACCES",
    "read environ": "EACCES",
    "list": "EACCES",
    "unlink": "EACCES",
    "rename": "EACCES",
    "exec": "EACCES",
    "kill": "EPERM",
    "ptrace": "EPERM",
}


@pytest.fixture
async def confined(pool: Offload) -> Offload:
    if pool.confinement != set(LAYERS):
        pytest.skip("; ".join(pool.notices))
    return pool


@pytest.mark.parametrize(("attempt", "refusal"), BY_SYSTEM_CALLS.items())
async def test_a_worker_is_refused(confined: Offload, tmp_path: Path, attempt: str, refusal: str) -> None:
    path = tmp_path / "precious"
    path.write_text("still here", encoding="ascii")
    path.chmod(0o666)
    answer = await confined.run({"do": attempt, "path": str(path), "pid": os.getpid()}, [])
    assert answer == {"refused": refusal}
    assert path.read_text(encoding="ascii") == "still here"


async def test_a_worker_can_not_raise_its_own_limits(pool: Offload) -> None:
    assert "do" not in (await pool.run({"do": "who"}, []))
    with pytest.raises(Exception, match="maximum limit"):
        await pool.run({"do": "raise memory limit"}, [])


async def test_a_worker_can_not_write_to_its_input(pool: Offload, tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(b"original")
    assert await pool.run({"do": "write to input"}, [path]) == {"refused": "EBADF"}
    assert path.read_bytes() == b"original"


async def test_a_worker_can_not_write_files_without_outputs(pool: Offload, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    answer: dict[str, Any] = await pool.run({"do": "descriptors"}, [tmp_path / "a"])
    assert answer["open"] == [0, 1, 2, 3, *answer["inputs"]]


async def test_threads_still_work_in_a_worker(pool: Offload) -> None:
    assert await pool.run({"do": "thread"}, []) == {"heard": [1]}


async def test_no_secret_of_the_daemon_reaches_a_worker(
    monkeypatch: pytest.MonkeyPatch, start_pool: StartPool
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    monkeypatch.setenv("CONCUR_TOKEN", "s3cret-token")
    pool = start_pool()
    answer: dict[str, Any] = await pool.run({"do": "environment"}, [])
    assert set(answer["environment"]) <= {
        *("LC_ALL", "MALLOC_ARENA_MAX", "LD_LIBRARY_PATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    }
    assert "s3cret" not in repr(answer["arguments"])
    server = (await pool.run({"do": "who"}, []))["server"]
    assert b"s3cret" not in Path(f"/proc/{server}/environ").read_bytes()


async def test_the_fork_server_loads_no_more_than_it_needs(pool: Offload) -> None:
    answer: dict[str, Any] = await pool.run({"do": "environment"}, [])
    assert not {"asyncio", "ssl", "ingestd.offload.pool", "ingestd.settings"} & set(answer["modules"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root has something to give up")
async def test_a_daemon_that_runs_as_root_does_not_decode_as_root(pool: Offload) -> None:
    assert (await pool.run({"do": "who"}, []))["user"] == 65534


_ALONE = """
import json, os, sys
from ingestd.offload import lockdown
from tests.unit.offload import jobs

limits = lockdown.Limits(memory_bytes=512 << 20, cpu_seconds=5, output_bytes=0, jobs=1)
layer, path, *attempts = sys.argv[1:]
missing = lockdown.confine(
    lockdown.load_libc(), limits, parent=os.getppid(), wanted=("rlimits", layer)
)
if missing:
    print(json.dumps({"missing": missing}))
else:
    pid = os.getppid()
    print(json.dumps({a: jobs.job({"do": a, "path": path, "pid": pid}, [], []) for a in attempts}))
"""


@pytest.mark.parametrize(("layer", "refusals"), [("landlock", BY_LANDLOCK), ("seccomp", BY_SYSTEM_CALLS)])
def test_each_layer_alone_refuses(layer: str, refusals: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("still here", encoding="ascii")
    tmp_path.chmod(0o777)
    path.chmod(0o666)
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE, layer, str(path), *refusals],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ran.stdout)
    if "missing" in told:
        pytest.skip(f"no {layer} here: {told['missing']}")
    assert told == {attempt: {"refused": refusal} for attempt, refusal in refusals.items()}
    assert path.read_text(encoding="ascii") == "still here"
