"""Faults at random while receipts come and the daemon is killed. tests/torture has the storm of thousands."""

import random

import pytest

from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import SandboxProcess
from tests.torture.storm import (
    LATENCY_SECONDS,
    NO_EVIDENCE_BUT_EMPTINESS,
    NOT_THERE_AFTER,
    PARTS,
    Storm,
    files,
    ride_out,
)
from tests.torture.storm_judge import judge_storm

FAULTS = (
    *("down", "maintenance", "throttle-0", "rate", "limit-400", "deadlock-400", "fail-401", "html-502"),
    *("accept-then-500", "accept-then-drop", "drop-mid-body", "timeout", "truncated-xml", "cut-answer"),
)
"""Those that pass, or leave a doubt."""


@pytest.mark.timeout(600)  # starts, kills and a calm end; minutes on a busy machine
@pytest.mark.parametrize("on_unconfirmed", ["hold", "retry"])
def test_a_storm_loses_nothing_and_doubles_only_what_was_in_doubt_and_may_be_sent_again(
    make_place: MakePlace, sandbox: SandboxProcess, on_unconfirmed: str
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    place = make_place(**PARTS, target=f'on_unconfirmed = "{on_unconfirmed}"\n{NOT_THERE_AFTER}')
    sandbox.faults(
        latency_seconds=LATENCY_SECONDS,
        switches={"url_origin": "host"},
        faults=NO_EVIDENCE_BUT_EMPTINESS if on_unconfirmed == "hold" else [],
    )
    storm = Storm(seed=seed, seconds=20, receipts=60, kills=3, faults=FAULTS, calm=0.2)
    dropped = files(storm.receipts, seed)
    ride_out(place, sandbox, storm, dropped)
    findings = judge_storm(place, sandbox, dropped, on_unconfirmed=on_unconfirmed)
    print(findings)
    findings.demand_nothing_wrong()
    assert findings.resolved, "the storm brought no doubt, so it shows nothing"
    assert on_unconfirmed == "retry" or findings.doubles == 0
