"""Limited processes: untrusted bytes are decoded here, so that a bomb, a hang or a crash costs one job.

    daemon ── pool.Offload ── forkserver.ForkServer ══ control socket ══ server ── fork ──┐
                    └──────────── one socket for each worker (jobs, descriptors) ══ worker ┘

The job is a function `module:name` that the fork server imports once:

    def job(request: dict[str, object], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]

`inputs` are descriptors open for reading, `outputs` empty ones open for writing; the worker closes them.
What it returns must be JSON. Its module may have `warm_up()`, without arguments: called once before the first
fork, to import and load whatever jobs need, and once more inside a confined worker as a self-test, where no
file can be opened any more. `prove()`, where there is one, is the self-test instead. `readable()` names
directories, found after the warm-up: jobs may open the files below them for reading, and no others.

Callers import `ingestd.offload.pool`. Nothing is imported here: the fork server stays small, without asyncio.
"""
