"""The folder source keeps the promises of every source."""

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.clock import process_clock
from ingestd.settings import FolderSettings
from ingestd.sources.folder import FolderSource
from ingestd.spool import Spool
from tests.contract.source_contract import Bench, SourceContract


class Silent:
    def note(self, event: str, /, *, level: str = "info", **fields: object) -> None:
        """A contract says nothing about notes."""


class FolderBench:
    def __init__(self, home: Path) -> None:
        self.spool = Spool(home / "spool", min_free_bytes=0)
        self.folder = home / "inbox"
        self.folder.mkdir()
        self._away = home / "away"

    def source(self) -> FolderSource:
        settings = FolderSettings(
            name="inbox",
            path=self.folder,
            settle=timedelta(milliseconds=100),
            settle_incomplete=timedelta(milliseconds=400),
            group_quiet=timedelta(milliseconds=200),
            rescan=timedelta(seconds=0.5),
        )
        return FolderSource(settings, clock=process_clock(), observer=Silent(), group_of=_entry)

    def drop(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def drop_together(self, pages: Mapping[str, bytes]) -> None:
        entry = self.folder / "entries" / "E1"
        entry.mkdir(parents=True)
        for name, data in pages.items():
            (entry / name).write_bytes(data)

    def originals(self) -> int:
        places = (self.folder, self.folder / "entries", self.folder / ".ingestd" / "claimed")
        found = (*places[0].glob("*"), *places[1].rglob("*"), *places[2].rglob("*"))
        return sum(path.is_file() and not path.name.startswith(".") for path in found)

    def shown(self) -> dict[str, bytes]:
        trees = [self.folder / "uploaded", self.folder / "rejected"]
        files = [path for tree in trees for path in tree.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def break_it(self) -> None:
        self.folder.rename(self._away)

    def mend_it(self) -> None:
        shutil.move(self._away, self.folder)


def _entry(path: str) -> str | None:
    return "entry" if path.startswith("entries/") else None


class TestFolderSource(SourceContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        return FolderBench(tmp_path)
