"""A local SAP Concur Image v1.0 and Authentication v2: to try things, to judge tests, to fill benchmarks.

    POST /api/image/v1.0/receipt | expenseentry/ID | invoice/ID | report/ID      upload: 201, <Image><Id>
    GET  /api/image/v1.0/receipt/IMAGE_ID | expenseentry/ID | …                  200, <Image><Url>, 15 minutes
    POST /oauth2/v0/token · GET /oauth2/v0/authorize                             log in, refresh (oauth.py)
    GET  /_sandbox/images[?slot=report/*][&after=N]    {"images": [...], "requests": {...}}
    GET  /_sandbox/images/NUMBER/content               the bytes as they came
    GET  /_sandbox/requests[?limit=N]                {"total", "by_status", "leaks", "limits", "periods" ...}
    GET  /_sandbox/logins                              {"clients": [...], "logins": [...]}
    GET  | PUT | DELETE  /_sandbox/faults              {"faults": [...], "latency_seconds", "switches"}
    GET  | PUT | DELETE  /_sandbox/timeline            [{"at", "for", "fault" ...}] or {"seed", "seconds" ...}
    POST /_sandbox/reset                               as after the start
    GET  /                                             all this for a person, with examples

It runs without configuration: any token is good except bad-* and expired-*, any ID exists except unknown-*,
and the beginning of an ID picks a fault (faults.py). It is the judge of what ingestd uploads, so it shares
no code with it: the standard library, aiohttp, pypdf and Pillow are all it may use.
"""

from ingestd.sandbox.app import create_app, serve
from ingestd.sandbox.journal import fingerprint
from ingestd.sandbox.state import Sandbox

__all__ = ["Sandbox", "create_app", "fingerprint", "serve"]
