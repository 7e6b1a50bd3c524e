"""Opens one message as the limited process does, without the process around it."""

import os
import tempfile
from dataclasses import dataclass

from ingestd.normalizer import message_job
from ingestd.normalizer.exchange_mail import Excuse, FoundLeaf, Obstacle, Opened, OpenRequest, Unopened
from ingestd.normalizer.mail_bounds import MOST_LEAVES

MOST_BYTES = 100_000_000


@dataclass(frozen=True)
class Result:
    opened: Opened
    leaves: tuple[tuple[FoundLeaf, bytes], ...]

    @property
    def names(self) -> list[str]:
        return [leaf.name for leaf, _ in self.leaves]

    @property
    def excuses(self) -> dict[str, Excuse]:
        return {one.name: one.excuse for one in self.opened.left_out}


def opened(raw: bytes, *, max_leaves: int = MOST_LEAVES, max_bytes: int = MOST_BYTES) -> Result:
    answer, content = _job(raw, max_leaves, max_bytes)
    assert isinstance(answer, Opened), answer
    leaves = tuple((leaf, content[leaf.offset : leaf.offset + leaf.size]) for leaf in answer.leaves)
    return Result(opened=answer, leaves=leaves)


def obstacle(raw: bytes, *, max_leaves: int = MOST_LEAVES, max_bytes: int = MOST_BYTES) -> Obstacle:
    answer, _ = _job(raw, max_leaves, max_bytes)
    assert isinstance(answer, Unopened), answer
    return answer.obstacle


def _job(raw: bytes, max_leaves: int, max_bytes: int) -> tuple[Opened | Unopened, bytes]:
    asked = OpenRequest(size=len(raw), max_leaves=max_leaves, max_bytes=max_bytes)
    with tempfile.TemporaryFile() as output:
        answer = message_job.opened(asked, raw, output.fileno())
        return answer, os.pread(output.fileno(), max_bytes + 1, 0)
