"""`ingestd alerts`: who is told what needs a person, what they were told, and whether it gets through."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ingestd.cli.rendering import local_moment, one_line, print_json
from ingestd.cli.session import ConfigOption, JsonOption
from ingestd.clock import process_clock
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.errors import ConfigurationError, IngestdError
from ingestd.interfaces import Clock
from ingestd.settings import Settings

NOBODY = (
    'alerts: there is no such table, so nobody is told; add one, with mail = ["it@example.com"] or a webhook'
)


def alerts(
    config: ConfigOption = None,
    test: Annotated[bool, typer.Option("--test", help="Send a test message to each of them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show who is told what needs a person, and what each was told last; or send a test message.

    With --test the exit code is 1 when a message did not get through.

    \b
    ingestd alerts
    ingestd alerts --test
    """
    settings = load_configuration(find_configuration(config))
    if settings.alerts is None:
        raise ConfigurationError([NOBODY])
    rows = asyncio.run(_tried(settings)) if test else _told(settings)
    if as_json:
        print_json({"alerts": rows})
    else:
        for row in rows:
            _print(row)
    raise typer.Exit(0 if all(row.get("sent", True) for row in rows) else 1)


async def _tried(settings: Settings) -> Sequence[dict[str, Any]]:
    """All at once: one that is silent keeps nobody waiting for the others."""
    from ingestd.alerts import Way
    from ingestd.alerts.digest import Message
    from ingestd.beside import alert_ways
    from ingestd.interfaces import SourceUnavailable, Undeliverable

    clock = process_clock()

    async def send(way: Way) -> dict[str, Any]:
        try:
            await way.send(Message(event="test"), clock())
        except (SourceUnavailable, Undeliverable) as error:
            return {"to": way.name, "sent": False, "reason": str(error)}
        return {"to": way.name, "sent": True, "reason": None}

    return await asyncio.gather(*(send(way) for way in alert_ways(settings, clock)))


def _told(settings: Settings) -> Sequence[dict[str, Any]]:
    from ingestd.alerts import Memory
    from ingestd.alerts.memory import NAME
    from ingestd.beside import alert_ways

    clock: Clock = process_clock()
    memory = Memory(settings.storage.directory / NAME)
    problem = memory.load(now=clock())
    if problem is not None:
        raise IngestdError(problem)
    rows = []
    for way in alert_ways(settings, clock):
        told = memory.of(way.name)
        last = max(told.sent, default=None)
        rows.append({"to": way.name, "open": [item.title for item in told.open.values()], "last_at": last})
    return rows


def _print(row: dict[str, Any]) -> None:
    match row:
        case {"sent": True, "to": to}:
            typer.echo(f"✓ {to}: a test message was handed over")
        case {"sent": False, "to": to, "reason": reason}:
            typer.echo(f"✗ {to}: {one_line(str(reason))}")
        case {"to": to, "open": titles, "last_at": last}:
            when = f"last told {local_moment(last)}" if last else "told nothing within a day"
            typer.echo(f"{to}: {when}; open: {one_line('; '.join(titles)) if titles else 'nothing'}")
        case _:
            raise ValueError(row)
