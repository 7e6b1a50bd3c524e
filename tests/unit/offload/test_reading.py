"""A job that must open files by name reads those that its module names, and nothing else."""

import errno
import os
from pathlib import Path

import pytest

from ingestd.offload.lockdown import LAYERS
from ingestd.offload.pool import Offload
from tests.unit.offload.conftest import StartPool
from tests.unit.offload.jobs_reading import ALLOWED, ALLOWED_ALONE
from tests.unit.offload.test_escapes import BY_SYSTEM_CALLS

JOB = "tests.unit.offload.jobs_reading:job"


@pytest.fixture
async def reading(start_pool: StartPool) -> Offload:
    pool = start_pool(job=JOB)
    if pool.confinement != set(LAYERS):
        pytest.skip("; ".join(pool.notices))
    return pool


async def test_a_file_of_a_named_directory_is_opened_for_reading(reading: Offload) -> None:
    assert "done" in await reading.run({"do": "open", "path": str(ALLOWED)}, [])
    below = next(path for path in ALLOWED.parent.glob("*/*") if path.is_file() and not path.is_symlink())
    assert "done" in await reading.run({"do": "open", "path": str(below)}, [])


async def test_a_file_that_is_named_is_opened_and_none_beside_it(reading: Offload) -> None:
    assert "done" in await reading.run({"do": "open", "path": str(ALLOWED_ALONE)}, [])
    beside = ALLOWED_ALONE.with_name("passwd")
    assert await reading.run({"do": "open", "path": str(beside)}, []) == {"refused": "EACCES"}


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/etc/passwd", "EACCES"),
        ("/", "EACCES"),
        ("/proc/self/environ", "EACCES"),
        ("/dev/null", "EACCES"),
        (str(ALLOWED.parent), "EACCES"),
        (f"{ALLOWED.parent}/../../etc/passwd", "EACCES"),
    ],
)
async def test_no_other_file_is_opened_and_no_directory_listed(
    reading: Offload, path: str, refusal: str
) -> None:
    assert await reading.run({"do": "open", "path": path}, []) == {"refused": refusal}


@pytest.mark.parametrize(
    "flags",
    [
        os.O_WRONLY,
        os.O_RDWR,
        os.O_RDONLY | os.O_CREAT,
        os.O_RDONLY | os.O_TRUNC,
        os.O_RDONLY | os.O_APPEND,
        os.O_RDONLY | os.O_DIRECTORY,
        os.O_PATH,
        os.O_TMPFILE | os.O_RDWR,
    ],
)
async def test_nothing_is_opened_in_any_other_way(reading: Offload, tmp_path: Path, flags: int) -> None:
    path = tmp_path / "precious"
    path.write_text("still here", encoding="ascii")
    path.chmod(0o666)
    for target in (path, ALLOWED, ALLOWED.parent):
        answer = await reading.run({"do": "open", "path": str(target), "flags": flags}, [])
        assert answer == {"refused": "EPERM"}
    assert path.read_text(encoding="ascii") == "still here"


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    # By name, files outside the named directories are now refused by landlock.
    (BY_SYSTEM_CALLS | {"open": "EACCES", "read environ": "EACCES"}).items(),
)
async def test_everything_else_stays_refused(
    reading: Offload, tmp_path: Path, attempt: str, refusal: str
) -> None:
    path = tmp_path / "precious"
    path.write_text("still here", encoding="ascii")
    path.chmod(0o666)
    answer = await reading.run({"do": attempt, "path": str(path), "pid": os.getpid()}, [])
    assert answer == {"refused": refusal}
    assert path.read_text(encoding="ascii") == "still here"


async def test_other_pools_still_open_nothing(pool: Offload) -> None:
    answer = await pool.run({"do": "open", "path": str(ALLOWED)}, [])
    assert answer["refused"] in (errno.errorcode[errno.EPERM], errno.errorcode[errno.EACCES])
