"""Passwords for encrypted PDFs: those of the route before those for everybody, and never told to anybody."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Route
from ingestd.domain.states import Event, State
from ingestd.pipeline import Pipeline
from ingestd.pipeline.passwords import (
    LARGEST_FILE_BYTES,
    MOST_PASSWORDS,
    Passwords,
    PasswordsUnavailable,
    problems,
    read_passwords,
    warnings,
)
from ingestd.settings import PreparationSettings
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Vault, now, open_rooms

SOON = timedelta(seconds=2)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


async def run(rooms: Rooms, items: dict[str, bytes], ears: Ears | None = None, **changes: object) -> Receipt:
    shelf = Shelf(items)
    flow = rooms.flow(Vault(), ears=ears, **changes)
    await Pipeline(flow, {shelf.name: shelf}).run(until_idle=SOON)
    return (await rooms.reader.find())[0]


def test_a_password_is_a_line_without_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "passwords", "\ufeff first \n\nsecond\r\n  \t \nGrüße x\nlast")
    assert read_passwords(path) == (" first ", "second", "Grüße x", "last")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"caf\xe9\n", "UTF-8"),
        ("x\n" * (MOST_PASSWORDS + 1), "201 passwords"),
        ("ok\n" + "x" * 201, "line 2"),
        *(("ok\ncaf" + odd, "line 2: holds a character") for odd in ("\x0b", "\0", "\t", "\u202e", "\ufeff")),
        (b"\n" * (LARGEST_FILE_BYTES + 1), "too long"),
    ],
)
def test_what_can_not_be_a_file_of_passwords_is_said_without_a_word_of_it(
    tmp_path: Path, content: str | bytes | None, words: str
) -> None:
    path = tmp_path / "passwords"
    if content is not None:
        written(path, content)
    with pytest.raises(PasswordsUnavailable, match=words):
        read_passwords(path)
    (problem,) = problems(path)
    assert str(path) in problem and "caf" not in problem


def test_what_is_no_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(PasswordsUnavailable):
            read_passwords(path)


def test_others_who_can_read_it_are_warned_of(tmp_path: Path) -> None:
    path = written(tmp_path / "passwords", "x")
    assert warnings(path) == problems(path) == ()
    path.chmod(0o604)
    assert "chmod o=" in warnings(path)[0]


async def test_those_of_the_route_come_first_and_none_twice(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        ann = written(tmp_path / "ann", "a\nboth\n")
        everybody = written(tmp_path / "all", "both\nb\n")
        bob = written(tmp_path / "bob", "c\n")
        flow = rooms.flow(
            Vault(),
            routes=[
                Route(patterns={"path": "ann/*"}, send="vault:receipt", passwords_file=ann),
                Route(patterns={"path": "ann/x*"}, send="vault:receipt", passwords_file=bob),
                Route(send="vault:receipt"),
            ],
            preparation=PreparationSettings(passwords_file=everybody),
        )
        passwords = Passwords(flow)
        assert await passwords.for_facts({"path": "ann/x.pdf"}) == ("a", "both", "b")
        assert await passwords.for_facts({"path": "x.pdf"}) == ("both", "b")
        written(everybody, "new\n")
        assert await passwords.for_facts({"path": "x.pdf"}) == ("new",), "read whenever it is needed"


async def test_all_that_are_tried_together_are_a_small_part_of_a_request(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        lines = ["\n".join(f"{name}{n:03}" + "ü" * 97 for n in range(MOST_PASSWORDS)) for name in "ab"]
        ann, everybody = (written(tmp_path / name, text) for name, text in zip("ab", lines, strict=True))
        flow = rooms.flow(
            Vault(),
            routes=[Route(send="vault:receipt", passwords_file=ann)],
            preparation=PreparationSettings(passwords_file=everybody),
        )
        passwords = await Passwords(flow).for_facts({"path": "x.pdf"})
        assert len(passwords) == 200 and all(password.startswith("a") for password in passwords)
        assert sum(len(password.encode()) for password in passwords) <= 100_000
        assert len(json.dumps(passwords)) < 250_000


async def test_an_encrypted_document_opens_with_the_passwords_of_its_route(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        routes = [
            Route(
                patterns={"path": "ann/*"},
                send="vault:receipt",
                passwords_file=written(tmp_path / "ann", "s3cret\n"),
            ),
            Route(send="vault:receipt"),
        ]
        assert (await run(rooms, {"a.pdf": b"LOCKED1 s3cret"}, routes=routes)).state is State.REJECTED
        ears = Ears()
        # A member of an archive goes by its own path, and so does its password.
        receipt = await run(rooms, {"ann/b.zip": b"ZIP\nb.pdf=LOCKED s3cret"}, ears, routes=routes)
        assert (receipt.state, receipt.filename) == (State.UPLOADED, "b.pdf")
        assert "s3cret" not in repr(ears.heard)


async def test_a_file_that_is_missing_is_no_password_and_is_told_once(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        path, ears = tmp_path / "passwords", Ears()
        preparation = PreparationSettings(passwords_file=path)
        items = {"a.jpg": b"open", "b.jpg": b"open too", "c.pdf": b"LOCKED s3cret"}
        await run(rooms, items, ears, preparation=preparation)
        states = {r.filename: r.state for r in await rooms.reader.find()}
        assert states == {"a.jpg": State.UPLOADED, "b.jpg": State.UPLOADED, "c.pdf": State.REJECTED}
        assert ears.events().count("passwords.unavailable") == 1

        written(path, "s3cret\n")
        (rejected,) = await rooms.reader.find(states={State.REJECTED})
        await rooms.ledger.move(rejected, Event.REQUEUE, now=now())
        await run(rooms, {}, preparation=preparation)
        current = await rooms.reader.get(rejected.id)
        assert current is not None and current.state is State.UPLOADED
