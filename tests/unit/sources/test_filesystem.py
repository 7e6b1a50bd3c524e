"""The small tools below the folder source."""

import os
from pathlib import Path

import pytest

from ingestd.sources import filesystem
from ingestd.sources.filesystem import Directory, events_arrive, file_system_type, marked, rename_new


@pytest.mark.parametrize("kernel_helps", [True, False])
def test_a_rename_that_must_be_new_never_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_helps: bool
) -> None:
    if not kernel_helps:
        monkeypatch.setattr(filesystem, "_RENAMEAT2", None)
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    directory = Directory.open(tmp_path)
    with pytest.raises(FileExistsError):
        rename_new(directory, "a", directory, "b")
    assert (tmp_path / "b").read_text() == "b"
    rename_new(directory, "a", directory, "c")
    assert (tmp_path / "c").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        rename_new(directory, "missing", directory, "d")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]  # noqa: PTH208  names are what is compared


@pytest.mark.parametrize(
    ("name", "mark", "wanted"),
    [
        ("scan.pdf", "2", "scan (2).pdf"),
        ("scan.pdf", "", "scan.pdf"),
        (".pdf", "2", ".pdf (2)"),
        ("no extension", "3", "no extension (3)"),
        ("a.tar.gz", "2", "a.tar (2).gz"),
        ("x" * 300 + ".pdf", "2", "x" * 207 + " (2).pdf"),
    ],
)
def test_a_mark_goes_before_the_extension(name: str, mark: str, wanted: str) -> None:
    assert marked(name, mark) == wanted


def test_a_shortened_name_is_never_cut_inside_a_character() -> None:
    name = marked("\u20ac" * 200 + ".pdf", "2")
    assert len(name.encode()) <= 255 - 40
    assert set(name) == set("\u20ac (2).pdf")


@pytest.mark.parametrize(
    "network", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "afs", "virtiofs"]
)
def test_events_do_not_arrive_from_other_machines(network: str) -> None:
    assert not events_arrive(network)


@pytest.mark.parametrize("local", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fusectl", ""])
def test_events_arrive_from_this_machine(local: str) -> None:
    assert events_arrive(local)


def test_the_file_system_of_a_path_is_that_of_its_mount() -> None:
    assert file_system_type(Path("/proc/self")) == "proc"
    assert file_system_type(Path("/")) not in ("", "proc")


def test_a_directory_never_leads_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    root = Directory.open(tmp_path)
    root.below(["real", "below"])
    for parts in (["link"], ["link", "below"]):
        with pytest.raises(OSError, match="link"):
            root.below(parts)


def test_empty_directories_go_as_far_as_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "kept").touch()
    Directory.open(tmp_path).remove_empty(["a", "b", "c"])
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["kept"]
