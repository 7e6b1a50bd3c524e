"""Every fault the sandbox knows, at random, while thousands of receipts come and the daemon is killed -9.

The sandbox, the folder and the ledger's file are asked afterwards: nothing lost, nothing doubled but what was
called in doubt and may be sent again, nothing silent. TORTURE_STORM (receipts), TORTURE_STORM_SECONDS and
TORTURE_STORM_KILLS set its size.
"""

import resource
import time

import pytest

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import Place, SandboxProcess
from tests.torture.conftest import dial
from tests.torture.drops import Dropped, Kind
from tests.torture.storm import (
    FAULTS,
    LATENCY_SECONDS,
    NO_EVIDENCE_BUT_EMPTINESS,
    NOT_THERE_AFTER,
    PARTS,
    Storm,
    drop_whole,
    files,
    ride_out,
    settle,
)
from tests.torture.storm_judge import Findings, judge_storm

RECEIPTS = dial("STORM", 2_000)
SECONDS = dial("STORM_SECONDS", 300)
KILLS = dial("STORM_KILLS", 20)

OAUTH = """
[targets.concur.oauth]
grant = "{grant}"
client_id = "storm-client"
client_secret_file = "client-secret"
{more}
"""
TOKEN_SECONDS = 4


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("on_unconfirmed", ["hold", "retry"])
def test_a_storm_loses_nothing_and_doubles_only_what_was_in_doubt_and_may_be_sent_again(
    make_place: MakePlace, sandbox: SandboxProcess, seed: int, on_unconfirmed: str
) -> None:
    place = make_place(**PARTS, target=f'on_unconfirmed = "{on_unconfirmed}"\n{NOT_THERE_AFTER}')
    sandbox.faults(
        latency_seconds=LATENCY_SECONDS,
        switches={"url_origin": "host"},
        faults=NO_EVIDENCE_BUT_EMPTINESS if on_unconfirmed == "hold" else [],
    )
    storm = Storm(seed=seed, seconds=SECONDS, receipts=RECEIPTS, kills=KILLS)
    findings = weather(place, sandbox, storm, on_unconfirmed=on_unconfirmed)
    findings.demand_nothing_wrong()
    assert findings.resolved, "the storm brought no doubt, so it shows nothing"
    assert on_unconfirmed == "retry" or findings.doubles == 0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("grant", "more", "kills"),
    [
        ("client_credentials", "", 5),
        # A kill between a rotation and its answer costs a login, as it would with any client: none here.
        ("refresh_token", 'refresh_token_file = "refresh-token"', 0),
    ],
)
def test_a_login_outlives_a_storm_and_asks_for_one_token_at_a_time(
    make_place: MakePlace, sandbox: SandboxProcess, seed: int, grant: str, more: str, kills: int
) -> None:
    place = make_place(**PARTS, login="", target=NOT_THERE_AFTER, retry=OAUTH.format(grant=grant, more=more))
    for name in ("client-secret", "refresh-token"):
        (place.directory / name).write_text("a-secret")
        (place.directory / name).chmod(0o600)
    sandbox.faults(
        latency_seconds=LATENCY_SECONDS,
        switches={"url_origin": "host", "token_seconds": TOKEN_SECONDS, "old_refresh_token": "dies"},
    )
    storm = Storm(
        seed=seed,
        seconds=SECONDS / 3,
        receipts=max(60, RECEIPTS * 3 // 20),
        kills=min(kills, KILLS),
        faults=FAULTS,
    )
    findings = weather(place, sandbox, storm, on_unconfirmed="hold")
    (client,) = sandbox.logins()["clients"]
    print(f"  token endpoint: {client}")
    findings.demand_nothing_wrong()
    assert findings.doubles == 0
    assert client["most_at_once"] == 1
    late = Dropped("late.jpg", samples.small_jpeg(10_000_000), Kind.GOOD, "receipt")
    drop_whole(place.inbox, late)
    settle(place)
    assert place.states()["late.jpg"] == "uploaded", "the login has died"


def weather(place: Place, sandbox: SandboxProcess, storm: Storm, *, on_unconfirmed: str) -> Findings:
    dropped = files(storm.receipts, storm.seed)
    began, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ride_out(place, sandbox, storm, dropped)
    seconds, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = now.ru_utime + now.ru_stime - cpu.ru_utime - cpu.ru_stime
    findings = judge_storm(place, sandbox, dropped, on_unconfirmed=on_unconfirmed)
    print(
        f"{storm.receipts} receipts, {storm.kills} kills, {storm.seconds:.0f} s of storm, {seconds:.0f} s "
        f"in all, {spent:.0f} s of processor time of the daemons, "
        f"on_unconfirmed = {on_unconfirmed}:\n  {findings}"
    )
    return findings
