"""Secrets are read from their place, errors name the place and never the secret."""

import os
from pathlib import Path

import pytest

from ingestd.http.tokens import (
    REDACTED,
    SecretReader,
    SecretUnavailable,
    problems,
    read_password,
    read_secret,
    redact,
    warnings,
)
from ingestd.settings import Secret

CANARY = "canary-5f0c"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(CANARY + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("content", [CANARY, f"{CANARY}\n", f"  {CANARY}\r\n\n", f"\ufeff{CANARY}\n"])
def test_blanks_around_a_token_do_not_matter(token: Path, content: str) -> None:
    token.write_text(content, encoding="utf-8")
    assert read_secret(Secret(file=token)) == CANARY
    assert problems(Secret(file=token)) == ()


def test_a_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCUR_TOKEN", f" {CANARY}\n")
    assert read_secret(Secret(environment="CONCUR_TOKEN")) == CANARY
    assert SecretReader(Secret(environment="CONCUR_TOKEN"))() == CANARY
    monkeypatch.delenv("CONCUR_TOKEN")
    assert problems(Secret(environment="CONCUR_TOKEN")) == ("environment variable CONCUR_TOKEN is not set",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (f"Bearer {CANARY}".encode(), "without 'Bearer'"),
        (f"{CANARY}\nsecond".encode(), "on one line"),
        (f"{CANARY}\x00".encode(), "on one line"),
        (f"{CANARY}\xff".encode("latin-1"), "on one line"),
        (CANARY.encode() * 5000, "too long"),
    ],
)
def test_a_file_that_holds_no_token_is_named_without_its_content(
    token: Path, content: bytes, why: str
) -> None:
    token.write_bytes(content)
    (problem,) = problems(Secret(file=token))
    assert why in problem
    assert str(token) in problem
    assert CANARY not in problem


def test_a_missing_file_a_directory_and_a_fifo_are_problems(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "does not exist" in problems(Secret(file=tmp_path / "none"))[0]
    assert "is not a file" in problems(Secret(file=tmp_path / "fifo"))[0]
    assert problems(Secret(file=tmp_path)) != ()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_file_of_somebody_else_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(CANARY)
    path.chmod(0o600)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        (problem,) = problems(Secret(file=path))
    finally:
        os.seteuid(0)
    assert "can't be read" in problem


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_token_open_to_every_user_is_a_warning(token: Path, mode: int, warned: bool) -> None:
    token.chmod(mode)
    assert bool(warnings(Secret(file=token))) is warned


def test_a_new_token_is_picked_up_by_itself(token: Path) -> None:
    read = SecretReader(Secret(file=token))
    assert read() == CANARY
    fresh = token.with_name("fresh")
    fresh.write_text("another")
    fresh.replace(token)
    assert read() == "another"


def test_a_token_rewritten_in_place_is_picked_up_too(token: Path) -> None:
    read = SecretReader(Secret(file=token))
    assert read() == CANARY
    before = token.stat()
    token.write_text(CANARY[::-1] + "\n")
    os.utime(token, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert read() == CANARY[::-1]


def test_a_token_that_vanished_is_not_remembered(token: Path) -> None:
    read = SecretReader(Secret(file=token))
    read()
    token.unlink()
    with pytest.raises(SecretUnavailable):
        read()


def test_an_unchanged_file_is_not_opened_again(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = SecretReader(Secret(file=token))
    read()
    monkeypatch.setattr(os, "open", None)
    assert read() == CANARY


def test_secrets_are_blacked_out_wherever_they_stand() -> None:
    assert redact(f"a {CANARY}{CANARY} b", [CANARY]) == f"a {REDACTED}{REDACTED} b"
    assert redact("a b", ["", "a"]) == "a b"


@pytest.mark.parametrize("password", ["abcd efgh ijkl mnop", "Grüße, 你好", "a'\"\\b", CANARY])
def test_a_password_may_hold_blanks_and_any_letters(token: Path, password: str) -> None:
    token.write_text(password + "\r\n", encoding="utf-8")
    assert read_password(Secret(file=token)) == password
    assert problems(Secret(file=token), read_password) == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [(b" \n", "is empty"), (b"a\nb", "on one line"), (b"a\x00b", "on one line"), (b"caf\xe9", "UTF-8")],
)
def test_a_file_that_holds_no_password_is_named_without_its_content(
    token: Path, content: bytes, why: str
) -> None:
    token.write_bytes(CANARY.encode() + content if why != "is empty" else content)
    with pytest.raises(SecretUnavailable, match=why) as caught:
        read_password(Secret(file=token))
    assert str(token) in str(caught.value) and CANARY not in str(caught.value)
    assert problems(Secret(file=token), read_password) == (str(caught.value),)
