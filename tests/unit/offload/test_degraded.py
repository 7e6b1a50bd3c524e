"""A system that offers less confinement still works, and says what is missing."""

import json
import os
import struct
import subprocess
import sys

import pytest

from ingestd.offload import lockdown
from tests.unit.offload.conftest import JOB, StartPool

# A filter of our own plays the older kernel: the one call fails, everything else goes on.
_OLDER_KERNEL = """
import asyncio, ctypes, json, struct, sys
from ingestd.offload import lockdown
from tests.unit.offload.conftest import make_pool

job, (number, argument, errno) = sys.argv[1], map(int, sys.argv[2:])
rules = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, argument),
         (0x06, 0, 0, 0x50000 | errno), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack("HP", len(rules), ctypes.addressof(code)))
libc = lockdown.load_libc()
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.addressof(program), 0, 0) == 0

pool = make_pool(job=job)
pool.start()

async def main():
    opened = await pool.run({"do": "open", "path": "/"}, [])
    written = await pool.run({"do": "open", "path": "/dev/null", "flags": 1}, [])
    assert "refused" in written
    print(json.dumps([sorted(pool.confinement), list(pool.notices), opened]))
    await pool.aclose()

asyncio.run(main())
"""

LANDLOCK_CREATE_RULESET = (444, 0, 38)  # ENOSYS
PRCTL_SET_SECCOMP = (157, 22, 22)  # EINVAL


def on_an_older_kernel(
    call: int, argument: int, errno: int, *, job: str = JOB
) -> tuple[list[str], list[str], dict[str, str]]:
    ran = subprocess.run(
        [sys.executable, "-c", _OLDER_KERNEL, job, str(call), str(argument), str(errno)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    layers, notices, opened = json.loads(ran.stdout)
    return layers, notices, opened


@pytest.fixture(autouse=True)
async def full_confinement(start_pool: StartPool) -> None:
    pool = start_pool()
    if pool.confinement != set(lockdown.LAYERS) or os.uname().machine != "x86_64":
        pytest.skip("plays an older kernel on a new one; this one is not")


def test_without_landlock_the_other_layers_hold() -> None:
    layers, notices, opened = on_an_older_kernel(*LANDLOCK_CREATE_RULESET)
    assert layers == ["rlimits", "seccomp"]
    assert [notice.split(":")[0] for notice in notices] == ["no landlock (Function not implemented)"]
    assert opened == {"refused": "EPERM"}


def test_without_seccomp_the_other_layers_hold() -> None:
    layers, notices, opened = on_an_older_kernel(*PRCTL_SET_SECCOMP)
    assert layers == ["landlock", "rlimits"]
    assert [notice.split(":")[0] for notice in notices] == ["no seccomp (Invalid argument)"]
    assert opened == {"refused": "EACCES"}


def test_without_landlock_a_job_that_reads_files_can_read_any_and_that_is_told() -> None:
    layers, notices, opened = on_an_older_kernel(
        *LANDLOCK_CREATE_RULESET, job="tests.unit.offload.jobs_reading:job"
    )
    assert layers == ["rlimits", "seccomp"]
    assert len(notices) == 1
    assert notices[0].endswith("can read all that this user can")
    assert "done" in opened


async def test_a_filter_that_the_decoders_can_not_live_with_is_left_off_and_told(
    start_pool: StartPool,
) -> None:
    pool = start_pool(job="tests.unit.offload.jobs_needing_more:job")
    assert pool.confinement == {"rlimits", "landlock"}
    assert "the self-test fails with it: PermissionError" in pool.notices[0]
    assert await pool.run({}, []) == {}


@pytest.mark.parametrize(
    ("abi", "rights"),
    [
        (1, [0x1FFF]),
        (2, [0x3FFF]),
        (3, [0x7FFF]),
        (4, [0x7FFF, 3]),
        (5, [0xFFFF, 3]),
        (6, [0xFFFF, 3, 3]),
        (9, [0xFFFF, 3, 3]),
    ],
)
def test_landlock_is_asked_for_all_that_its_version_knows(abi: int, rights: list[int]) -> None:
    assert lockdown.landlock_attributes(abi) == struct.pack(f"={len(rights)}Q", *rights)
