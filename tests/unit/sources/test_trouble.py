"""`ingestd check` finds what would keep a folder from working, and says how to mend it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ingestd.settings import FolderSettings
from ingestd.sources.trouble import advice, blocked, check_folder


def check(path: Path) -> list[str]:
    return check_folder(FolderSettings(name="scanner", path=path))


def test_a_good_folder_has_no_problems_and_is_left_as_it_is(tmp_path: Path) -> None:
    assert check(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_an_absent_folder_is_named_with_its_key_and_its_fix(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "inbox")
    assert problem.startswith("folders.scanner.path: ")
    assert str(tmp_path / "inbox") in problem and "create it" in problem


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a directory" in check(tmp_path / "file")[0]
    assert "not a directory" in check(tmp_path / "file" / "below")[0]


@pytest.mark.parametrize("name", [".ingestd", "uploaded", "rejected"])
def test_something_else_under_one_of_our_names_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/tmp")
    (problem,) = check(tmp_path)
    assert str(tmp_path / name) in problem and "move it away" in problem


def test_a_tree_that_is_switched_off_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "uploaded").touch()
    assert check_folder(FolderSettings(name="scanner", path=tmp_path, uploaded=False)) == []


AS_NOBODY = """
import os, sys
from pathlib import Path
from ingestd.settings import FolderSettings
from ingestd.sources.trouble import check_folder
print(*check_folder(FolderSettings(name="scanner", path=Path(sys.argv[1]))), sep="\\n")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o755, "may not write to it"),
        (0o700, "may not read or write to or enter it"),
        (0o1777, "sticky"),
        (0o777, ""),
    ],
)
def test_a_missing_permission_is_named_for_the_user_who_lacks_it(mode: int, said: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ingestd-test-") as name:
        Path(name).chmod(mode)
        command = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            "-c",
            AS_NOBODY,
        ]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        project = Path(__file__).parents[3]
        ended = subprocess.run([*command, name], capture_output=True, text=True, cwd=project, env=env)
        Path(name).chmod(0o755)
    assert ended.returncode == 0, ended.stderr
    if said:
        assert said in ended.stdout and "the user nobody" in ended.stdout and name in ended.stdout
    else:
        assert ended.stdout.strip() == ""


@pytest.mark.parametrize("number", [1, 2, 5, 13, 20, 28, 30, 40, 116])
def test_every_trouble_names_the_folder(number: int) -> None:
    sentence = advice(Path("/srv/inbox"), OSError(number, os.strerror(number)))
    assert "/srv/inbox" in sentence and sentence.endswith(".")


def test_blocked_files_are_counted_and_the_first_is_named() -> None:
    sentence = blocked({"b\udcff.pdf": "Permission denied", "c": "Input/output error"})
    assert "'b\ufffd.pdf' (and 1 more like it)" in sentence and "Permission denied" in sentence
