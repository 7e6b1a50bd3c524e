"""The filter program, run by a small model of the kernel: both architectures are tested anywhere."""

import platform
import re
import struct
from pathlib import Path

import pytest

from ingestd.offload import seccomp
from ingestd.offload.lockdown import load_libc

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000

X86_64, AARCH64 = (seccomp._ARCHITECTURES[name] for name in ("x86_64", "aarch64"))
PID = 4711

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def answer(
    architecture: seccomp._Architecture, name: str | int, *arguments: int, reads_files: bool = False
) -> int:
    """What the filter says to this call."""
    number = name if isinstance(name, int) else number_of(architecture, name)
    padded = [*arguments, *[0] * (6 - len(arguments))]
    return execute(
        seccomp.compile_filter(architecture, pid=PID, reads_files=reads_files),
        struct.pack("<IIQ6Q", number, architecture.audit, 0, *padded),
    )


def number_of(architecture: seccomp._Architecture, name: str) -> int:
    return (seccomp._ALLOWED | seccomp._CONDITIONAL | seccomp._READING)[name][architecture.column]


def execute(program: bytes, data: bytes) -> int:
    """Classic BPF as in the kernel's Documentation/networking/filter.rst, the opcodes that are used."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    position = accumulator = 0
    while True:
        code, skip_true, skip_false, value = instructions[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                position += skip_true if accumulator == value else skip_false
            case 0x35:
                position += skip_true if accumulator >= value else skip_false
            case 0x45:
                position += skip_true if accumulator & value else skip_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"opcode {code:#x}")


@pytest.mark.parametrize("architecture", [X86_64, AARCH64])
def test_what_is_listed_is_allowed_and_the_rest_is_refused(architecture: seccomp._Architecture) -> None:
    listed = {numbers[architecture.column] for numbers in seccomp._ALLOWED.values()}
    partly = {numbers[architecture.column] for numbers in seccomp._CONDITIONAL.values()}
    assert not listed & partly
    for number in range(600):
        if number not in partly:
            expected = ALLOW if number in listed else EPERM if number < 424 else ENOSYS
            assert answer(architecture, number) == expected, number


@pytest.mark.parametrize("architecture", [X86_64, AARCH64])
@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("mmap", (0, 4096, 3), ALLOW),
        ("mmap", (0, 4096, 4), EPERM),
        ("mmap", (0, 4096, 7), EPERM),
        ("mprotect", (0, 4096, 1), ALLOW),
        ("mprotect", (0, 4096, 5), EPERM),
        ("fcntl", (0, 1030), ALLOW),
        ("fcntl", (0, 3), ALLOW),
        ("fcntl", (0, 8), EPERM),
        ("fcntl", (0, 1024), EPERM),
        ("newfstatat", (3, 0, 0, 0x1000), ALLOW),
        ("newfstatat", (3, 0, 0, 0), EPERM),
        ("newfstatat", (3, 0, 0, 0x1100), EPERM),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (PID, 7), EPERM),
        ("tgkill", (PID, 4712, 6), ALLOW),
        ("tgkill", (1, 1, 9), EPERM),
        ("clone", (0x3D0F00,), ALLOW),
        ("clone", (17,), EPERM),
        ("clone", (0x4111,), EPERM),
    ],
)
def test_what_is_allowed_in_part(
    architecture: seccomp._Architecture, call: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert answer(architecture, call, *arguments) == expected


@pytest.mark.parametrize("architecture", [X86_64, AARCH64])
def test_files_are_opened_for_reading_alone_and_only_where_that_is_asked_for(
    architecture: seccomp._Architecture,
) -> None:
    assert answer(architecture, "openat", 0, 0, 0) == EPERM
    assert answer(architecture, "openat", 0, 0, 0, reads_files=True) == ALLOW
    assert answer(architecture, "openat", 0, 0, 0x80000, reads_files=True) == ALLOW  # O_CLOEXEC
    for bit in {1 << position for position in range(32)} - {0x80000}:
        assert answer(architecture, "openat", 0, 0, bit, reads_files=True) == EPERM, hex(bit)
        assert answer(architecture, "openat", 0, 0, bit | 0x80000, reads_files=True) == EPERM, hex(bit)
    for number in range(600):
        if number not in {numbers[architecture.column] for numbers in seccomp._READING.values()}:
            allowed = answer(architecture, number, reads_files=True)
            assert allowed == answer(architecture, number), number


def test_calls_of_another_architecture_end_the_process() -> None:
    program = seccomp.compile_filter(X86_64, pid=PID)
    i386 = struct.pack("<IIQ6Q", 3, 0x40000003, 0, *[0] * 6)
    assert execute(program, i386) == KILL


@pytest.mark.parametrize("name", HEADERS)
def test_numbers_are_those_of_the_kernel_headers(name: str) -> None:
    header = HEADERS[name]
    if not header.exists():
        pytest.skip(f"no {header}")
    found: dict[str, int] = {}
    for call, number in re.findall(
        r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(encoding="ascii")
    ):
        found.setdefault(call, int(number))
    found.setdefault("newfstatat", found.get("fstatat", -1))
    column = seccomp._ARCHITECTURES[name].column
    for call, numbers in (seccomp._ALLOWED | seccomp._CONDITIONAL | seccomp._READING).items():
        assert found[call] == numbers[column], call


def test_an_architecture_without_a_list_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    with pytest.raises(seccomp.Unsupported, match="s390x"):
        seccomp.install(load_libc())
