"""What callers of the pool must expect: one job lost, or the whole machinery."""

from typing import Literal

from ingestd.domain.errors import IngestdError

LossKind = Literal["wall", "cpu", "memory", "crash"]


class WorkerLost(IngestdError):
    """A job did not end well, and took its worker with it.

    `kind`: the limit it hit, or "crash" for a signal, an exit, a broken reply or an exception that the job
    let out. `detail` is one printable line for a log. It may hold words chosen by whoever wrote the document.
    """

    def __init__(self, kind: LossKind, detail: str) -> None:
        self.kind: LossKind = kind
        self.detail = "".join(c if c.isprintable() else "?" for c in detail[:500])
        super().__init__(f"{kind}: {self.detail}")


class OffloadBroken(IngestdError):
    """Limited processes can't be started; no document is to blame."""
