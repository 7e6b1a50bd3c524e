"""Which files a process that makes PDFs of mails may open: the fonts, and nothing beside them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ingestd.normalizer import letter_fonts

CONFIGURATION = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>"""

ASK = "from ingestd.normalizer import letter_fonts; print(*letter_fonts.readable(), sep='\\n')"


def font() -> Path:
    """One of this machine's."""
    return next(file for file in letter_fonts._files() if file.suffix == ".ttf")


def readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """In a process of its own: fontconfig reads its configuration once."""
    configuration = tmp_path / "fonts.conf"
    configuration.write_text(CONFIGURATION.format(fonts=tmp_path / "fonts", cache=tmp_path / "cache"))
    monkeypatch.setenv("FONTCONFIG_FILE", str(configuration))
    told = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    return set(told.stdout.split())


def test_of_a_font_that_is_linked_from_elsewhere_the_file_alone_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, foreign = tmp_path / "fonts/own", tmp_path / "home"
    for directory in (own, foreign, tmp_path / "fonts/linked"):
        directory.mkdir(parents=True)
    shutil.copy(font(), own / "a.ttf")
    shutil.copy(font(), foreign / "b.ttf")
    (foreign / "secret").write_text("nobody's business")
    (tmp_path / "fonts/linked/b.ttf").symlink_to(foreign / "b.ttf")
    assert readable(tmp_path, monkeypatch) == {str(own), str(foreign / "b.ttf")}


def test_a_directory_of_fonts_that_is_a_link_opens_no_other_file_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "home"
    foreign.mkdir()
    shutil.copy(font(), foreign / "b.ttf")
    (tmp_path / "fonts").symlink_to(foreign)
    assert readable(tmp_path, monkeypatch) == {str(foreign / "b.ttf")}
