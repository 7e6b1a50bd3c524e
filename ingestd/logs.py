"""Logs: structlog on stderr, JSON when nobody looks at a terminal. Events are `noun.verb` with fields.

Never bodies, tokens or mail subjects. Logs is an Observer: every stage reports through it.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from ingestd.interfaces import Level, Observer
from ingestd.settings import LogSettings


def open_logs(settings: LogSettings) -> "Logs":
    """Configures structlog for this process and returns the Observer that writes."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    renderer: list[Any] = (
        [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
        if as_json
        else [structlog.dev.ConsoleRenderer(pad_event_to=22, sort_keys=False)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_empty,
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return Logs(structlog.get_logger())


class Logs:
    """Writes what happens as one line each."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        getattr(self._logger, level)(event, **fields)


class Observers:
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        for observer in self._observers:
            observer.note(event, level=level, **fields)


def _without_empty(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key in [key for key, value in event.items() if value is None or value == ""]:
        del event[key]
    return event
