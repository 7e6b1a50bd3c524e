"""What a worker gives up before the first untrusted byte: privileges, memory, time, files, network, signals.

Each layer that the kernel offers is taken; what is missing is named, with what follows from it. The order
matters: later steps take away what earlier ones need.
"""

import ctypes
import math
import os
import resource
import signal
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from ingestd.offload import seccomp, wire

Layer = Literal["rlimits", "landlock", "seccomp"]

LAYERS: tuple[Layer, ...] = ("rlimits", "landlock", "seccomp")

NOBODY = 65534

# From prctl(2).
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 1, 4, 15, 38

# landlock(7); the calls have the same numbers on every architecture
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_READ_FILE = 1 << 2  # LANDLOCK_ACCESS_FS_READ_FILE

# stdin, stdout, stderr, the worker's socket, and one to spare for a duplicate
_OWN_DESCRIPTORS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one worker: address space in bytes, CPU seconds of one job, bytes of one output file."""

    memory_bytes: int
    cpu_seconds: float
    output_bytes: int
    jobs: int


class NotConfined(Exception):
    """A step that works on every Linux failed; the process must not see untrusted bytes."""


def load_libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    libc.syscall.restype = ctypes.c_long
    return libc


def set_process_name(libc: ctypes.CDLL, name: str) -> None:
    """What ps and top show, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    libc.prctl(_PR_SET_NAME, ctypes.addressof(buffer), 0, 0, 0)


def confine(
    libc: ctypes.CDLL,
    limits: Limits,
    *,
    parent: int,
    wanted: tuple[Layer, ...],
    readable: Sequence[str] = (),
) -> dict[str, str]:
    """Give up everything. Returns the wanted layers that don't hold, each with the reason.

    `readable`: files, and directories with the files below them at any depth, that can still be opened for
    reading; only landlock knows which, without it every file of this user can. Raises NotConfined. There is
    no way back: the process can only work or end afterwards.
    """
    _drop_root()
    _die_with(libc, parent)
    # Not dumpable: no core file may hold a receipt, and nobody with our user ID may look inside (ptrace(2)).
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, value, 0, 0, 0):
            raise NotConfined(f"prctl({option}): {os.strerror(ctypes.get_errno())}")
    _set_limits(limits)
    missing: dict[str, str] = {}
    if "landlock" in wanted:
        try:
            _landlock(libc, readable)
        except OSError as error:
            missing["landlock"] = str(error.strerror)
    if "seccomp" in wanted:
        try:
            seccomp.install(libc, reads_files=bool(readable))
        except seccomp.Unsupported as error:
            missing["seccomp"] = str(error)
    return missing


def arm_job(limits: Limits, *, writes: bool) -> None:
    """Before each job: its CPU time, and whether it may write files.

    RLIMIT_CPU counts whole seconds of the process, so a job may get up to one second more. Only the soft
    limits move; the hard ones were set for the worker's life.
    """
    _, hard_cpu = resource.getrlimit(resource.RLIMIT_CPU)
    soft_cpu = math.ceil(time.process_time() + limits.cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (min(soft_cpu, hard_cpu), hard_cpu))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.output_bytes if writes else 0, limits.output_bytes))


def _drop_root() -> None:
    """A daemon that runs as root, in a container say, does not decode as root."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        # A user namespace without that ID, or CAP_SETUID taken away: then this root is not the machine's.
        return


def _die_with(libc: ctypes.CDLL, parent: int) -> None:
    # After the change of user, which clears it (prctl(2)). The parent may have died just before.
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or os.getppid() != parent:
        raise NotConfined("the fork server is gone")


def _set_limits(limits: Limits) -> None:
    life = math.ceil(limits.cpu_seconds + 1) * limits.jobs
    descriptors = _OWN_DESCRIPTORS + wire.DESCRIPTORS
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, limits.output_bytes),
        (resource.RLIMIT_NOFILE, descriptors, descriptors),
        (resource.RLIMIT_CPU, life, life),
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
    ):
        _, ceiling = resource.getrlimit(kind)
        unlimited = ceiling == resource.RLIM_INFINITY
        try:
            resource.setrlimit(kind, (soft, hard) if unlimited else (min(soft, ceiling), min(hard, ceiling)))
        except (OSError, ValueError) as error:
            raise NotConfined(f"setrlimit({kind}): {error}") from error


def _landlock(libc: ctypes.CDLL, readable: Sequence[str]) -> None:
    """Whatever the ruleset handles is refused, but for reading `readable`, or below it. Raises OSError."""
    abi = _system_call(libc, _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    attributes = landlock_attributes(abi)
    ruleset = _system_call(libc, _LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            with suppress(FileNotFoundError, PermissionError):  # out of reach: not readable either
                _allow_reading(libc, ruleset, path)
        _system_call(libc, _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    """A file, or those below a directory, which can't be listed."""
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        attributes = struct.pack("=Qi", _LANDLOCK_READ_FILE, parent)  # struct landlock_path_beneath_attr
        _system_call(libc, _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, attributes, 0)
    finally:
        os.close(parent)


def _system_call(libc: ctypes.CDLL, number: int, *arguments: int | bytes | None) -> int:
    """syscall(2) with every integer as wide as a register. Raises OSError."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def landlock_attributes(abi: int) -> bytes:
    """struct landlock_ruleset_attr with every right that this ABI knows, no longer than it knows it."""
    files = 13 + (abi >= 2) + (abi >= 3) + (abi >= 5)  # + REFER, + TRUNCATE, + IOCTL_DEV
    fields = [(1 << files) - 1]
    if abi >= 4:
        fields.append(0b11)  # TCP: bind, connect
    if abi >= 6:
        fields.append(0b11)  # scopes: abstract unix sockets, signals
    return struct.pack(f"={len(fields)}Q", *fields)
