"""The system calls a worker may make: an allow-list as a classic BPF program, for x86_64 and aarch64.

Numbers come from the kernel's asm/unistd_64.h and asm-generic/unistd.h, the way of the filter from
seccomp(2). Everything not listed fails with EPERM, so that a library which tries something optional goes on;
calls from 424 on (which libc always probes for, and falls back) fail with ENOSYS.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ALLOWED = {
    # the job's descriptors; sendmsg is missing on purpose: a worker passes no descriptor on
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "ftruncate": (77, 46),
    "dup": (32, 23),
    "close": (3, 57),
    "recvmsg": (47, 212),
    # memory
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    # signals and threads of the process itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # time
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "times": (100, 153),
    "getrusage": (98, 165),
    # harmless facts, most of which libc does not expect to be refused
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "uname": (63, 160),
    "sysinfo": (99, 179),
}

# Allowed in part; the conditions stand in _conditional_rules.
_CONDITIONAL = {
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "fcntl": (72, 25),
    "newfstatat": (262, 79),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
    "clone": (56, 220),
}

# Only for jobs that open files by name; which files, landlock decides. To tell where a name leads, they may
# ask for their directory, which is "/".
_READING = {"openat": (257, 56), "getcwd": (79, 17)}

_FIRST_NEW_NUMBER = 424
"""From here on a call has the same number on all architectures (Linux 5.1). The x32 calls lie higher, too."""

_AUDIT_ARCH_X86_64, _AUDIT_ARCH_AARCH64 = 0xC000003E, 0xC00000B7  # <linux/audit.h>

_PROT_EXEC = 0x4
_AT_EMPTY_PATH = 0x1000
_CLONE_THREAD = 0x10000
_O_CLOEXEC = 0x80000
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC

# <linux/bpf_common.h> and <linux/seccomp.h>
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_RET_KILL, _RET_ALLOW, _RET_ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16  # struct seccomp_data

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


class Unsupported(Exception):
    """This system has no such filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Architecture:
    column: int
    audit: int


_ARCHITECTURES = {
    "x86_64": _Architecture(column=0, audit=_AUDIT_ARCH_X86_64),
    "aarch64": _Architecture(column=1, audit=_AUDIT_ARCH_AARCH64),
}


def install(libc: ctypes.CDLL, *, reads_files: bool = False) -> None:
    """Filter this thread from now on; no_new_privs must be set. Raises Unsupported.

    `reads_files`: files can be opened by name, for reading alone.
    """
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None or struct.calcsize("P") != 8:
        raise Unsupported(f"no system call list for {platform.machine()}")
    program = compile_filter(architecture, pid=os.getpid(), reads_files=reads_files)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: unsigned short length, pointer to the instructions
    prog = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    )
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(prog), 0, 0):
        raise Unsupported(os.strerror(ctypes.get_errno()))


def compile_filter(architecture: _Architecture, *, pid: int, reads_files: bool = False) -> bytes:
    """The instructions. `pid` is the process that may signal itself (abort(3) does)."""
    instructions = [
        _load(_ARCH_OFFSET),
        _instruction(_EQUAL, architecture.audit, skip_true=1),
        _return(_RET_KILL),
        _load(_NUMBER_OFFSET),
    ]
    for numbers in _ALLOWED.values():
        instructions += _rule(numbers[architecture.column], [_return(_RET_ALLOW)])
    for name, check in _conditional_rules(pid).items():
        instructions += _rule(_CONDITIONAL[name][architecture.column], check)
    if reads_files:
        for name, check in _reading_rules().items():
            instructions += _rule(_READING[name][architecture.column], check)
    instructions += [
        _instruction(_AT_LEAST, _FIRST_NEW_NUMBER, skip_false=1),
        _return(_RET_ERRNO | _ENOSYS),
        _return(_RET_ERRNO | _EPERM),
    ]
    return b"".join(instructions)


def _conditional_rules(pid: int) -> Mapping[str, Sequence[bytes]]:
    return {
        "mmap": _unless_any_bit(2, _PROT_EXEC),
        "mprotect": _unless_any_bit(2, _PROT_EXEC),
        # F_SETOWN could send signals
        "fcntl": _if_one_of(1, _FCNTL_COMMANDS),
        # glibc 2.33 to 2.38 implement fstat(3) so
        "newfstatat": _if_one_of(3, (_AT_EMPTY_PATH,)),
        # its own limits only, not those of the daemon, which has the same user
        "prlimit64": _if_one_of(0, (0,)),
        "tgkill": _if_one_of(0, (pid,)),
        # threads, not processes; clone3 falls under ENOSYS, upon which libc comes back here
        "clone": _if_any_bit(0, _CLONE_THREAD),
    }


def _reading_rules() -> Mapping[str, Sequence[bytes]]:
    return {
        # no flag but this one: nothing is written, created, cut, or opened as a mere path
        "openat": _unless_any_bit(2, 0xFFFFFFFF & ~_O_CLOEXEC),
        "getcwd": [_return(_RET_ALLOW)],
    }


# Arguments are 64 bits wide; all that are looked at here are ints or flags in the lower half, which comes
# first: both architectures are little-endian.


def _if_one_of(argument: int, values: Sequence[int]) -> list[bytes]:
    tests = [
        _instruction(_EQUAL, value, skip_true=len(values) - position) for position, value in enumerate(values)
    ]
    return [_load_argument(argument), *tests, _return(_RET_ERRNO | _EPERM), _return(_RET_ALLOW)]


def _if_any_bit(argument: int, bits: int) -> list[bytes]:
    return [
        _load_argument(argument),
        _instruction(_ANY_BIT, bits, skip_true=1),
        _return(_RET_ERRNO | _EPERM),
        _return(_RET_ALLOW),
    ]


def _unless_any_bit(argument: int, bits: int) -> list[bytes]:
    return [
        _load_argument(argument),
        _instruction(_ANY_BIT, bits, skip_false=1),
        _return(_RET_ERRNO | _EPERM),
        _return(_RET_ALLOW),
    ]


def _rule(number: int, then: Sequence[bytes]) -> list[bytes]:
    return [_instruction(_EQUAL, number, skip_false=len(then)), *then]


def _load_argument(index: int) -> bytes:
    return _load(_ARGUMENTS_OFFSET + 8 * index)


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, offset)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter


def _instruction(code: int, value: int, *, skip_true: int = 0, skip_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, skip_true, skip_false, value)
