"""Commands that run something: run, check, sandbox, demo."""

import asyncio
import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli.rendering import destined, local_moment, one_line
from ingestd.cli.session import ConfigOption, act_as_owner, configured, with_reader
from ingestd.clock import process_clock
from ingestd.configfile import find_configuration, load_configuration
from ingestd.configfile.values import parse_duration
from ingestd.domain.errors import ConfigurationError, LedgerUnavailable
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import SETTLED
from ingestd.interfaces import LedgerReader
from ingestd.pipeline import RunResult
from ingestd.settings import Settings

if TYPE_CHECKING:
    from ingestd.assembly import Findings


def run(
    config: ConfigOption = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when everything that is there is done.")
    ] = False,
    wait: Annotated[
        str, typer.Option(metavar="DURATION", help="With --until-idle: wait so long for retries and sources.")
    ] = "30s",
) -> None:
    """Watch the folders and upload what arrives, until stopped (SIGTERM or Ctrl-C).

    \b
    ingestd run                          the daemon, as the systemd unit starts it
    ingestd run --until-idle             once through everything, for cron
    ingestd run --until-idle --wait 5m   be patient with a slow target

    With --until-idle the exit code is 0 when all is done, 3 when receipts of this run need a person or still
    wait, 1 when something stayed broken for longer than the wait.
    """
    from ingestd.assembly import check_places, check_secrets
    from ingestd.daemon import exit_code, run_daemon
    from ingestd.logs import Observers, open_logs
    from ingestd.storage import demand_disk

    patience = _duration("--wait", wait)
    settings = configured(config)
    demand_disk(settings)
    findings = check_secrets(settings) + check_places(settings, folders=until_idle)
    if findings.problems:
        raise ConfigurationError(findings.problems)
    logs = open_logs(settings.log)
    if not until_idle:
        run_daemon(settings, logs)
        return
    from ingestd.cli.progress import RunProgress

    with RunProgress(_backlog(settings)) as progress:
        observer = progress if progress.on_terminal else Observers(logs, progress)
        result = run_daemon(settings, observer, until_idle=patience)
    _tell(result)
    raise typer.Exit(exit_code(result))


def check(
    config: ConfigOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask targets, mailboxes and the mail server for answers.")
    ] = False,
) -> None:
    """Check the configuration without running: keys, secrets, folders, storage. Uploads and sends nothing.

    With --online each target must take the token, each mailbox the login, and the mail server the answers;
    `ingestd doctor` tells more about each of them.

    \b
    ingestd check
    ingestd check --config /etc/ingestd/ingestd.toml --online
    """
    from ingestd.assembly import (
        Findings,
        ask_targets,
        check_mail,
        check_passwords,
        check_places,
        check_secrets,
    )
    from ingestd.beside import check_alerts

    settings = load_configuration(find_configuration(config))
    # Tokens are read as the caller (systemd reads them as root), folders are tried as the owner.
    findings = check_secrets(settings) + check_passwords(settings) + check_mail(settings)
    findings += check_alerts(settings)
    logins, good = _logins(settings)
    findings += logins
    if online and not findings.problems:
        findings += Findings(tuple(asyncio.run(ask_targets(settings))))
        findings += _examined(settings)
    act_as_owner(settings.storage.directory)
    findings += check_places(settings, folders=True)
    for warning in findings.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if findings.problems:
        raise ConfigurationError(findings.problems)
    for sentence in good:
        typer.echo(sentence)
    counts = f"{len(settings.folders)} folder(s), {len(settings.targets)} target(s)"
    counts += f", {len(settings.mailboxes)} mailbox(es)" if settings.mailboxes else ""
    answers = " The targets answer." if online else ""
    answers += " The mailboxes can be used." if online and settings.mailboxes else ""
    typer.echo(f"The configuration is good: {counts}, {len(settings.routes)} route(s).{answers}")


def sandbox(
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 picks a free one.", min=0, max=65535)
    ] = 8085,
) -> None:
    """Run a local stand-in for SAP Concur: no account, nothing leaves this machine.

    Any token is good except bad-* and expired-*; any ID exists except unknown-*; an ID like fail-503 or
    timeout plays that fault. It also gives tokens (/oauth2/v0/token), keeps rate limits, and plays faults by
    the clock. Open the address it prints for all of it.

    \b
    ingestd sandbox
    curl -s http://127.0.0.1:8085/_sandbox/images
    curl -X PUT http://127.0.0.1:8085/_sandbox/timeline -d '{"seed": 7, "seconds": 600}'
    """
    from ingestd.sandbox import serve

    async def serving() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(port=port, ready=lambda url: typer.echo(f"The sandbox listens on {url}"), stop=stop)

    try:
        asyncio.run(serving())
    except OSError as error:
        raise ConfigurationError(
            [f"--port {port}: can't listen on 127.0.0.1:{port} ({error.strerror}); choose another, or 0"]
        ) from None


def demo(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory", "-d", metavar="DIR", help="Where to play. [default: a new ./ingestd-demo-…]"
        ),
    ] = None,
) -> None:
    """Show the whole way on real files, with a local sandbox: no account needed, under a minute.

    Makes receipts good and bad, drops them into a watched folder while the daemon runs, and shows where each
    one ended. Everything stays in the folder for looking.
    """
    from ingestd.cli.demo import play

    raise typer.Exit(play(directory))


def _logins(settings: Settings) -> tuple["Findings", list[str]]:
    """What there is to say of the logins of targets: problems and warnings, and what is well."""
    from ingestd.assembly import Findings
    from ingestd.cli.examining_logins import examine_logins

    texts: dict[str, list[str]] = {"good": [], "warning": [], "bad": []}
    for key, finding in examine_logins(settings, process_clock()()):
        fix = f"; {finding.fix}" if finding.fix else ""
        texts[finding.weight].append(one_line(f"{key}: {finding.says}{fix}"))
    return Findings(tuple(texts["bad"]), tuple(texts["warning"])), texts["good"]


def _examined(settings: Settings) -> "Findings":
    """What `doctor` finds about mail, as problems and warnings."""
    from ingestd.assembly import Findings
    from ingestd.cli.examining import examine_mail

    found = asyncio.run(examine_mail(settings))
    texts: dict[str, list[str]] = {"good": [], "warning": [], "bad": []}
    for finding in found:
        texts[finding.weight].append(one_line(finding.sentence))
    return Findings(tuple(texts["bad"]), tuple(texts["warning"]))


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigurationError([f"{option} {text}: {error}"]) from None


def _backlog(settings: Settings) -> int:
    """Receipts that were waiting before this run; 0 for a ledger that does not exist yet."""
    from ingestd.storage import ledger_exists

    async def ask(reader: LedgerReader) -> int:
        counts = await reader.counts()
        return sum(count for state, count in counts.items() if state not in SETTLED)

    if not ledger_exists(settings):
        return 0
    try:
        return with_reader(settings, ask)
    except LedgerUnavailable:
        return 0  # never finished, or older: the run itself creates and migrates it


def _tell(result: RunResult) -> None:
    """What a person or a cron mail should read at the end of a run."""
    for trouble in result.trouble:
        typer.echo(f"ingestd: {trouble}", err=True)
    for sentence in result.refused:
        typer.echo(f"ingestd: {one_line(sentence)}", err=True)
    _name(result.people, "need a person: `ingestd show ID` says what to do")
    _name(result.waiting, "wait for a later attempt and stay in the ledger")


def _name(receipts: Sequence[Receipt], what: str) -> None:
    if receipts:
        typer.echo(f"{len(receipts)} receipt(s) {what}", err=True)
    for receipt in receipts[:20]:
        due = f", due {local_moment(receipt.due_at)}" if str(receipt.state) == "ready" else ""
        line = f"  {receipt.id}  {one_line(receipt.path)} -> {destined(receipt)}: {receipt.state}{due}"
        typer.echo(line + (f": {receipt.reason}" if receipt.reason else ""), err=True)
    if len(receipts) > 20:
        typer.echo(f"  … and {len(receipts) - 20} more: `ingestd list`", err=True)
