"""What is well-formed and still can't work: the checks of the configuration that need more than one key."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from ingestd.configfile.alert_tables import alert_contradictions
from ingestd.configfile.login_contradictions import login_problems, shared_variables
from ingestd.configfile.mail_contradictions import is_loopback, mail_contradictions
from ingestd.configfile.tables import LEAST_MEMORY_BYTES
from ingestd.domain.routing import PLACEHOLDER, Destined, InvalidSlot, Route, compile_pattern
from ingestd.settings import MEGABYTE, ConcurImageV1Settings, Settings

SLOT_KINDS = {"receipt": False, "expenseentry": True, "invoice": True, "report": True}
"""Slot kinds of concur-image-v1, each with whether it needs an ID."""

SHORTEST_PAUSE = timedelta(milliseconds=100)
SHORTEST_TIMEOUT = timedelta(seconds=1)


def contradictions(settings: Settings) -> Iterator[str]:
    """Each problem as: key path: what is wrong and what to do."""
    yield from _storage_problems(settings)
    yield from _preparation_problems(settings)
    for target in settings.targets.values():
        yield from _target_problems(target)
    yield from shared_variables(settings)
    yield from _folder_problems(settings)
    yield from mail_contradictions(settings)
    yield from alert_contradictions(settings)
    for number, route in enumerate(settings.routes, 1):
        yield from _route_problems(f"routes[{number}]", route, settings)


def _storage_problems(settings: Settings) -> Iterator[str]:
    ledger = settings.storage.ledger
    if ledger is not None and not ledger.startswith(("postgresql://", "postgresql+psycopg://")):
        yield "storage.ledger: must begin with postgresql://; leave it out for SQLite in storage.directory"


def _preparation_problems(settings: Settings) -> Iterator[str]:
    preparation = settings.preparation
    if preparation.memory < LEAST_MEMORY_BYTES:
        least = f"{LEAST_MEMORY_BYTES // MEGABYTE}MB"
        yield f"preparation.memory: less than {least} can't hold the decoders; write {least} or more"
    for name, limit in (("cpu", preparation.cpu), ("wall", preparation.wall)):
        if limit < SHORTEST_TIMEOUT:
            yield f"preparation.{name}: a document needs a second at least; write 1s or more"
    compares = preparation.near_duplicates != "off" and preparation.inspect == "full"
    if compares and preparation.near_duplicate_window > settings.storage.keep:
        yield (
            "preparation.near_duplicate_window: is longer than storage.keep, and what is gone can't be "
            "compared; write a shorter one, or a longer storage.keep"
        )
    if preparation.near_duplicates == "hold" and preparation.inspect == "light":
        yield (
            'preparation.near_duplicates: "hold" needs a look at the pictures, and inspect = "light" takes '
            'none; write inspect = "full"'
        )


def _target_problems(target: ConcurImageV1Settings) -> Iterator[str]:
    key = f"targets.{target.name}"
    try:
        url = urlsplit(target.url)
        host = url.hostname or ""
        url.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        yield f"{key}.url: {target.url!r} is no URL"
        return
    if url.scheme not in ("http", "https") or not host:
        yield f"{key}.url: {target.url!r} must look like https://us2.api.concursolutions.com"
    elif url.scheme == "http" and not is_loopback(host):
        yield f"{key}.url: http:// would show the token to the network; use https:// (http only to loopback)"
    if url.query or url.fragment or url.username or url.password:
        yield f"{key}.url: must not hold a query, a fragment or a password"
    yield from login_problems(key, target)
    if target.rules.retry.first < SHORTEST_PAUSE:
        yield f"{key}.retry.first: shorter than 100ms would be a storm; write 100ms or more"
    if target.rules.retry.max_age < target.rules.retry.ceiling:
        yield f"{key}.retry.max_age: is shorter than one pause ({key}.retry.ceiling); write a longer time"
    if target.timeout < SHORTEST_TIMEOUT:
        yield f"{key}.timeout: an upload needs a second at least; write 1s or more"
    if target.rules.retry.first > target.rules.retry.ceiling:
        yield f"{key}.retry.first: is longer than {key}.retry.ceiling"


def _folder_problems(settings: Settings) -> Iterator[str]:
    seen: dict[str, Path] = {}
    storage = Path(os.path.normpath(settings.storage.directory))
    for number, folder in enumerate(settings.folders, 1):
        key = f"folders[{number}]"
        if folder.name in seen or folder.name == "submit":
            yield f"{key}.name: {folder.name!r} is taken; each source needs its own name"
        path = Path(os.path.normpath(folder.path))
        for other_name, other in seen.items():
            if path == other or path.is_relative_to(other) or other.is_relative_to(path):
                yield f"{key}.path: {path} and folder {other_name!r} overlap; watch only one of them"
        if storage == path or storage.is_relative_to(path) or path.is_relative_to(storage):
            yield f"{key}.path: {path} and storage.directory overlap; keep them apart"
        seen[folder.name] = path


def _route_problems(key: str, route: Route, settings: Settings) -> Iterator[str]:
    caught: set[str] = set()
    for name, pattern in route.patterns.items():
        stray = re.sub(r"\{[a-z][a-z0-9_]*\}", "", pattern)
        if "{" in stray or "}" in stray:
            yield f"{key}.{name}: {pattern!r}: a name in braces is written {{lower_case}}"
        else:
            caught |= set(compile_pattern(pattern).groupindex)
    wanted = set(PLACEHOLDER.findall(route.send))
    if missing := sorted(wanted - caught):
        yield f"{key}.send: nothing catches {{{missing[0]}}}; use it in a pattern of this route"
        return
    try:
        destined = Destined.parse(PLACEHOLDER.sub("x", route.send))
    except InvalidSlot as error:
        yield f"{key}.send: {error}"
        return
    yield from _destined_problems(key, route, destined, settings)


def _destined_problems(key: str, route: Route, destined: Destined, settings: Settings) -> Iterator[str]:
    target = settings.targets.get(destined.target)
    if target is None:
        known = ", ".join(settings.targets) or "none"
        yield f"{key}.send: there is no [targets.{destined.target}]; the targets are: {known}"
        return
    if destined.slot.kind not in SLOT_KINDS:
        yield f"{key}.send: no slot {destined.slot.kind!r}; the slots are: {', '.join(SLOT_KINDS)}"
    elif SLOT_KINDS[destined.slot.kind] and destined.slot.identifier is None:
        yield f"{key}.send: {destined.slot.kind} needs an ID, as in {destined}/{{id}}"
    elif not SLOT_KINDS[destined.slot.kind] and destined.slot.identifier is not None:
        yield f"{key}.send: {destined.slot.kind} takes no ID"
    if route.account is not None and route.account not in target.accounts:
        yield f"{key}.as: there is no [targets.{target.name}.accounts.{route.account}]"
