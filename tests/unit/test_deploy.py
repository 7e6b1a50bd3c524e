"""The service files hold what the program and the README promise, and systemd's own tools accept them."""

import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ingestd.settings import PreparationSettings, UploadSettings

TOP = Path(__file__).parents[2]
UNIT = TOP / "deploy/systemd/ingestd.service"
SYSUSERS = TOP / "deploy/sysusers.d/ingestd.conf"
TMPFILES = TOP / "deploy/tmpfiles.d/ingestd.conf"

DAEMON_MEMORY = 512 * 1024**2
"""What the unit's comment grants the daemon and its fork server, beside the workers."""

Unit = Mapping[str, Sequence[str]]


@pytest.fixture(scope="module")
def unit() -> Unit:
    """Every value of a key, in order. The keys of the three sections do not overlap."""
    values: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            values[match[1]].append(match[2])
    return values


def test_systemd_waits_until_the_service_says_it_is_ready_and_watches_it(unit: Unit) -> None:
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert span(unit["WatchdogSec"]) > timedelta(0)


def test_the_service_may_use_its_whole_grace_to_stop(unit: Unit) -> None:
    assert span(unit["TimeoutStopSec"]) >= UploadSettings().grace + timedelta(seconds=15)
    assert unit["KillMode"] == ["mixed"], "the workers are needed until the daemon has drained"


def test_a_crash_is_mended_for_ever_but_a_wrong_configuration_is_not_tried_again(unit: Unit) -> None:
    assert unit["Restart"] == ["on-failure"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == ["2"]


def test_all_workers_fit_into_the_memory_at_their_limit(unit: Unit) -> None:
    preparation = PreparationSettings()
    assert size(unit["MemoryHigh"]) >= preparation.workers * preparation.memory + DAEMON_MEMORY
    assert size(unit["MemoryMax"]) > size(unit["MemoryHigh"])
    assert unit["OOMPolicy"] == ["continue"], "one worker killed for memory must not end the service"


def test_user_and_groups_of_the_service_are_created(unit: Unit) -> None:
    created = {fields[1] for fields in lines(SYSUSERS) if fields[0] in "ug"}
    assert {*unit["User"], *unit["Group"], *unit["SupplementaryGroups"]} <= created


def test_secrets_are_credentials_from_a_folder_only_root_can_enter(unit: Unit) -> None:
    folders = {fields[1]: fields[2:5] for fields in lines(TMPFILES) if fields[0] == "d"}
    assert unit["LoadCredential"]
    for credential in unit["LoadCredential"]:
        name, _, path = credential.partition(":")
        assert PurePosixPath(path).name == name
        assert folders[str(PurePosixPath(path).parent)] == ["0700", "root", "root"]
    assert not unit["Environment"], "an environment can be read by others"


def test_watched_folders_are_open_to_the_group_and_writable_for_the_service(unit: Unit) -> None:
    writable = [PurePosixPath(path.removeprefix("-")) for path in unit["ReadWritePaths"]]
    watched = [fields for fields in lines(TMPFILES) if fields[0] == "d" and fields[2].startswith("2")]
    assert watched
    for _, path, mode, owner, group, *_ in watched:
        assert any(PurePosixPath(path).is_relative_to(place) for place in writable)
        assert (mode, owner, group) == ("2770", *unit["User"], *unit["SupplementaryGroups"])


def test_the_service_runs_the_command_that_the_package_installs(unit: Unit) -> None:
    command, *arguments = unit["ExecStart"][0].split()
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
    assert PurePosixPath(command).name in scripts
    assert arguments == ["run", "--config", "/etc/ingestd/ingestd.toml"]


def test_the_exposure_of_the_service_stays_low() -> None:
    """systemd's scale is 0 (locked in) to 100; an untouched service has 96."""
    systemd("systemd-analyze", "security", "--offline=true", "--threshold=15", str(UNIT))


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, unit: Unit) -> None:
    installed = unit["ExecStart"][0].split()[0]
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace(installed, shutil.which("true") or "/bin/true"))
    assert systemd("systemd-analyze", "verify", "--recursive-errors=no", str(here)) == ""


def test_systemd_accepts_user_and_group(tmp_path: Path) -> None:
    plan = systemd("systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(SYSUSERS))
    assert "Creating group 'receipts'" in plan
    assert "Creating user 'ingestd'" in plan


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(each for extra in project["project"]["optional-dependencies"].values() for each in extra),
        *project["dependency-groups"]["dev"],
    ]
    pins = [Requirement(" ".join(fields)) for fields in lines(TOP / "constraints.txt")]
    exact = {canonicalize_name(pin.name): pin for pin in pins if str(pin.specifier).startswith("==")}
    assert len(exact) == len(pins), "each line is one package at one version"
    for requirement in map(Requirement, wanted):
        version = str(exact[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert version in requirement.specifier, requirement


def lines(path: Path) -> list[list[str]]:
    """The words of each line that is not empty and no comment."""
    return [words for line in path.read_text().splitlines() if (words := line.partition("#")[0].split())]


def span(values: Sequence[str]) -> timedelta:
    """systemd.time(7), as far as the unit uses it: seconds when no unit is written."""
    match = re.fullmatch(r"(\d+)(s|min)?", values[-1])
    assert match
    return timedelta(minutes=int(match[1])) if match[2] == "min" else timedelta(seconds=int(match[1]))


def size(values: Sequence[str]) -> int:
    """Bytes; systemd counts K, M and G in powers of 1024."""
    scale = {"K": 1024, "M": 1024**2, "G": 1024**3}
    return int(values[-1][:-1]) * scale[values[-1][-1]]


def systemd(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
