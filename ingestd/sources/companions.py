"""Which files of one directory go together: the pages of a group, and files with their sidecars.

NAME.EXT.json belongs to NAME.EXT. NAME.json belongs to the only NAME.*, or to the group with the pages
NAME_p1.*, NAME_p2.*; where it can mean more than one, all of these are taken together and held, because none
may be sent to a place its sender did not mean. The names in the directory decide, not what is known of them.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ingestd.domain.document import display_name
from ingestd.domain.grouping import natural_key, page_group
from ingestd.sources.filesystem import Directory
from ingestd.sources.junk import is_junk
from ingestd.sources.sidecar import SUFFIX, is_sidecar_name, stem

GroupOf = Callable[[str], str | None]
"""The group of a file, by its path below the folder as the system has it; None for one that goes alone."""


@dataclass(slots=True, kw_only=True, eq=False)
class Unit:
    """Names that are taken together, in order, each with its own sidecar; `shared` are those of all.

    `gathers` says that more members may come, so that it has to be quiet before it is taken.
    """

    members: list[str]
    gathers: bool = False
    own: dict[str, str] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    hold: str | None = None

    @property
    def sidecars(self) -> list[str]:
        return [*self.own.values(), *self.shared]


class Companions:
    """The units of one directory, as its names are now. Raises OSError when it can't be listed."""

    def __init__(self, directory: Directory, prefix: str, group_of: GroupOf) -> None:
        files, sidecars = _list(directory)
        self._units: dict[str, Unit] = {}
        self._paired: set[str] = set()
        groups: dict[str, Unit] = {}
        for name in files:
            key = group_of(prefix + name)
            unit = Unit(members=[]) if key is None else groups.setdefault(key, Unit(members=[], gathers=True))
            unit.members.append(name)
            self._units[name] = unit
        if sidecars:
            self._assign(sidecars)
        for unit in self._units.values():
            if len(unit.members) > 1:
                unit.members.sort(key=natural_key)

    def unit(self, name: str) -> Unit | None:
        """None for a sidecar that waits for its files, and for a name that is gone."""
        return self._units.get(name)

    def _assign(self, sidecars: Sequence[str]) -> None:
        """First those that name their file in full, then those that share its stem. The rest is alone."""
        rest = []
        for sidecar in sorted(sidecars, key=lambda name: (not name.endswith(SUFFIX), name)):
            name = sidecar[: -len(SUFFIX)]
            unit = self._units.get(name)
            if unit is None:
                rest.append(sidecar)
            elif name not in unit.own:
                unit.own[name] = sidecar
                self._paired.add(sidecar)
        by_stem = self._by_stem() if rest else {}
        served: set[str] = set()
        for sidecar in rest:
            wanted = sidecar[: -len(SUFFIX)]
            if wanted in by_stem and wanted not in served:
                served.add(wanted)
                self._paired.add(sidecar)
                self._share(sidecar, by_stem[wanted])
        for sidecar in sidecars:
            if sidecar not in self._paired:
                self._units[sidecar] = Unit(members=[sidecar])

    def _by_stem(self) -> dict[str, list[str]]:
        """Files by the stem that a shared sidecar may have; those that have their own need none."""
        found: dict[str, list[str]] = {}
        for name, unit in self._units.items():
            if unit.gathers or name not in unit.own:
                found.setdefault(stem(name), []).append(name)
            pages = page_group(name) if unit.gathers else None
            if pages is not None and pages != stem(name):
                found.setdefault(pages, []).append(name)
        return found

    def _share(self, sidecar: str, names: list[str]) -> None:
        owners: dict[int, Unit] = {}
        for name in sorted(names, key=natural_key):
            owners.setdefault(id(self._units[name]), self._units[name])
        first, *others = owners.values()
        if not others and first.hold is None:
            if (
                len(names) == 1
                and names[0] not in first.own
                and page_group(names[0]) != sidecar[: -len(SUFFIX)]
            ):
                first.own[names[0]] = sidecar
            else:
                first.shared.append(sidecar)
            return
        # The sidecar stays: alone then, it arrives as a file that is no receipt, and nothing of it is lost.
        firsts = [min(unit.members, key=natural_key) for unit in owners.values()]
        first.hold = first.hold or _contested(sidecar, firsts)
        first.gathers = True
        for other in others:
            first.members += other.members
            first.own |= other.own
            for name in other.members:
                self._units[name] = first


def _list(directory: Directory) -> tuple[list[str], list[str]]:
    files: list[str] = []
    sidecars: list[str] = []
    with os.scandir(directory.descriptor) as entries:
        for entry in entries:
            if not is_junk(entry.name) and entry.is_file(follow_symlinks=False):
                (sidecars if is_sidecar_name(entry.name) else files).append(entry.name)
    return files, sidecars


def _contested(sidecar: str, names: Sequence[str]) -> str:
    shown = [display_name(name) for name in names[:3]]
    meant = " or ".join(repr(name) for name in shown) + (" or others" if len(names) > len(shown) else "")
    better = " or ".join(repr(name + SUFFIX) for name in shown)
    return (
        f"The instructions in {display_name(sidecar)!r} can be meant for {meant}, so they can't be followed. "
        f"Call them {better} and drop them again together with their file."
    )
