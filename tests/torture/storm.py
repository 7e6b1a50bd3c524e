"""A storm: files keep coming while the target plays a random timeline of faults and the daemon is killed.

What comes is all good, so whatever does not end as uploaded has its cause in the storm. Nothing is judged
here (see storm_judge).
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingestd import samples
from ingestd.sandbox.storm import ALL
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.torture.drops import Dropped, Kind

LIE = "accept-then-503"
"""A target that stores an image and says that it is down. Concur documents 503 as maintenance, in which
nothing is stored; nobody can tell the one from the other, and what is sent again would be there twice."""
FAULTS = tuple(name for name in ALL if name != LIE)

PARTS = {
    "preparation": 'inspect = "light"\nnear_duplicates = "off"',
    "timeout": "2s",
    "pauses": 'first = "100ms"\nceiling = "2s"\nunavailable = "1s"\nattempts = 60',
}
"""Of the configuration: all that takes minutes in real life takes seconds."""
NOT_THERE_AFTER = 'not_there_after = "12s"'
"""The sandbox shows an image at the latest ten seconds after it took it."""

_SHARES = (
    (0.4, "", "receipt"),
    (0.2, "reports/{name}/", "report/{name}"),
    (0.2, "entries/{name}/", "expenseentry/{name}"),
    (0.2, "invoices/{name}/", "invoice/{name}"),
)
_REPORTS = 20
_SHARE_IN_DOUBT = 0.1
_DOUBTS = ("accept-then-drop", "accept-then-500", "cut-answer", "truncated-xml", "timeout", "html-502")
"""Of the slots with an ID some play one of these once, whatever the weather: no storm is without a doubt."""
NO_EVIDENCE_BUT_EMPTINESS = [{"fault": "no-url", "match": "*"}]
"""What is found can't be read back: that it is ours is known by the slot having been empty before."""
_SAMPLES: Sequence[tuple[str, Callable[[int], bytes]]] = (
    (".jpg", samples.small_jpeg),
    (".png", samples.small_png),
    (".pdf", samples.small_pdf),
)
_SHARE_DURING_START = 0.12
_START_SECONDS = 1.2
_SHARE_OF_SHORT_LIVES = 0.5
_SHORT_LIFE_SECONDS = 2.0
"""Within it what waited for the daemon is under way."""
LATENCY_SECONDS = 0.06
"""Of the sandbox all the time: the image is stored, the answer still on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """`receipts` come within `seconds`, and meanwhile the daemon is killed `kills` times."""

    seed: int
    seconds: float
    receipts: int
    kills: int
    faults: Sequence[str] = FAULTS
    calm: float = 0.5


def files(count: int, seed: int) -> list[Dropped]:
    """Good ones for every kind of slot; of a slot that takes one image, one each."""
    chance = random.Random(seed)
    shares = [share for share, _, _ in _SHARES]
    made = []
    for number in range(count):
        _, folder, slot = chance.choices(_SHARES, shares)[0]
        suffix, sample = chance.choice(_SAMPLES)
        name = f"R{number % _REPORTS}" if slot.startswith("report") else f"N{number}"
        if chance.random() < _SHARE_IN_DOUBT:
            name = f"{chance.choice(_DOUBTS)}-x1-{number}"
        path = f"{folder.format(name=name)}file{number}{suffix}"
        made.append(Dropped(path, sample(number), Kind.GOOD, slot.format(name=name)))
    return made


def ride_out(place: Place, sandbox: SandboxProcess, storm: Storm, dropped: Sequence[Dropped]) -> None:
    """The storm until its time and its kills are over, then the calm until nothing is left to do."""
    chance, weather = random.Random(storm.seed), _Weather(sandbox, storm)
    size = math.ceil(len(dropped) / (storm.kills + 1))
    *lives, rest = [dropped[number * size : (number + 1) * size] for number in range(storm.kills + 1)]
    for number, part in enumerate(lives):
        seconds = weather.seconds_left / (storm.kills - number)
        if chance.random() < _SHARE_OF_SHORT_LIVES:
            seconds = min(seconds, _SHORT_LIFE_SECONDS)
        _live_and_be_killed(place, part, chance, max(seconds, _SHORT_LIFE_SECONDS), weather)
    with place.daemon():
        weather.go_on()
        _feed(place.inbox, rest, weather.seconds_left / 2)
        time.sleep(weather.seconds_left)
    sandbox.calm()
    settle(place)


def settle(place: Place) -> None:
    """Everything that can be done by itself is done; receipts that need a person may be left."""
    done = place.ingestd("run", "--until-idle", "--wait", "3m", expect=None, timeout=1800)
    assert done.returncode in (0, 3), f"{done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def drop_whole(inbox: Path, dropped: Dropped) -> None:
    """The file appears at one instant with all its bytes."""
    target = inbox / dropped.path
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}")
    hidden.write_bytes(dropped.content)
    hidden.rename(target)


class _Weather:
    """The timeline. When it is over while kills are left (a slow machine), another one begins."""

    def __init__(self, sandbox: SandboxProcess, storm: Storm) -> None:
        self._sandbox = sandbox
        self._storm = storm
        self._rounds = 0
        self._end_at = 0.0
        self.go_on()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._end_at - time.monotonic())

    def go_on(self) -> None:
        if self.seconds_left > 0:
            return
        storm = self._storm
        self._sandbox.timeline(
            seed=storm.seed + self._rounds, seconds=storm.seconds, faults=[*storm.faults], calm=storm.calm
        )
        self._end_at = time.monotonic() + storm.seconds
        self._rounds += 1


def _live_and_be_killed(
    place: Place,
    dropped: Sequence[Dropped],
    chance: random.Random,
    longest_seconds: float,
    weather: _Weather,
) -> None:
    """Half of the files wait for the daemon, the other half comes while it lives."""
    waiting = len(dropped) // 2
    _feed(place.inbox, dropped[:waiting], 0)
    started = place.log().count("run.started")
    process = place.start()
    if chance.random() < _SHARE_DURING_START:
        _feed(place.inbox, dropped[waiting:], chance.uniform(0, _START_SECONDS))
    else:
        _wait_for_start(place, started)
        weather.go_on()
        _feed(place.inbox, dropped[waiting:], chance.uniform(0, longest_seconds))
    assert process.poll() is None, f"the daemon ended by itself\n{place.log()[-3000:]}"
    process.kill()
    process.wait()


def _wait_for_start(place: Place, started: int) -> None:
    """Once more than so many times."""
    wait_until(lambda: place.log().count("run.started") > started, "the daemon runs", place.log, 180)


def _feed(inbox: Path, dropped: Sequence[Dropped], seconds: float) -> None:
    """Evenly, and no longer than so many seconds."""
    began = time.monotonic()
    for number, each in enumerate(dropped, 1):
        drop_whole(inbox, each)
        time.sleep(max(0.0, began + seconds * number / len(dropped) - time.monotonic()))
