"""A local SAP Concur Image v1.0: for people to try things, for tests to judge, for benchmarks to fill.

    POST /api/image/v1.0/receipt | expenseentry/ID | invoice/ID | report/ID      upload: 201, <Image><Id>
    GET  /api/image/v1.0/receipt/IMAGE_ID | expenseentry/ID | …                  200, <Image><Url>, 15 minutes
    GET  /_sandbox/images[?slot=report/*][&after=N]    {"images": [...], "requests": {...}}
    GET  /_sandbox/images/NUMBER/content               the bytes as they came
    GET  /_sandbox/requests[?limit=N]                  {"total", "by_status", "requests": [...]}
    GET  | PUT | DELETE  /_sandbox/faults              {"faults": [...], "latency_seconds", "switches"}
    POST /_sandbox/reset                               as after the start
    GET  /                                             all this for a person, with examples

It runs without configuration: any token is good except bad-* and expired-*, any ID exists except unknown-*,
and the beginning of an ID picks a fault (faults.py). It is the judge of what ingestd uploads, so it shares
no code with it: the standard library, aiohttp and pypdf are all it may use.
"""

from ingestd.sandbox.app import create_app, serve
from ingestd.sandbox.journal import fingerprint
from ingestd.sandbox.state import Sandbox

__all__ = ["Sandbox", "create_app", "fingerprint", "serve"]
