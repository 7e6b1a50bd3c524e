"""The page at GET / that tells a person what this is; plain text for curl, HTML for a browser."""

import json
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from aiohttp import web

from ingestd.sandbox.checks import MAX_BYTES
from ingestd.sandbox.faults import CATALOGUE
from ingestd.sandbox.slots import EXPENSE_ENTRY, INVOICE, REPORT
from ingestd.sandbox.state import SANDBOX
from ingestd.sandbox.storm import ALL
from ingestd.sandbox.switches import Switches

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f3f3f3;padding:.8rem;overflow-x:auto;font-size:13px}h2{margin-top:2rem}"
)


async def index(request: web.Request) -> web.Response:
    sections = _sections(str(request.url.origin()), len(request.app[SANDBOX].images))
    if "text/html" not in request.headers.get("Accept", ""):
        text = "\n\n".join(f"{title}\n{'=' * len(title)}\n{body}" for title, body in sections)
        return web.Response(text=text + "\n")
    parts = "".join(f"<h2>{escape(title)}</h2><pre>{escape(body)}</pre>" for title, body in sections)
    page = f"<!doctype html><html lang=en><title>ingestd sandbox</title><style>{_STYLE}</style>{parts}</html>"
    return web.Response(text=page, content_type="text/html")


def _sections(base: str, held: int) -> list[tuple[str, str]]:
    return [
        ("ingestd sandbox", _WHAT.format(base=base, held=held, max_bytes=MAX_BYTES)),
        ("Upload a receipt", _UPLOAD.format(base=base)),
        ("See what it holds", _SEE.format(base=base)),
        ("Play a bad day", _BAD_DAY.format(base=base, entry=EXPENSE_ENTRY, report=REPORT, invoice=INVOICE)),
        ("Play a day by the clock", _TIMELINE.format(base=base, names=_wrapped(ALL))),
        ("Log in", _LOGIN.format(base=base)),
        ("Faults", "\n".join(f"{entry.example:<18}{entry.effect}" for entry in CATALOGUE.values())),
        ("Switches (of a list, the first is the default)", _switches()),
    ]


def _switches() -> str:
    meanings, defaults = Switches.meanings(), Switches().as_json()
    return "\n".join(
        f"{name:<20}{_shown(each, defaults[name])}\n{'':20}{meanings[name]}"
        for name, each in Switches.choices().items()
    )


def _shown(accepted: list[Any] | str, default: Any) -> str:
    if isinstance(accepted, str):
        return f"{accepted} (default {json.dumps(default)})"
    return ", ".join(each if isinstance(each, str) else json.dumps(each) for each in accepted)


def _wrapped(names: Sequence[str]) -> str:
    return textwrap.fill(", ".join(names), width=100, break_on_hyphens=False)


_WHAT = """\
A local SAP Concur Image v1.0 for trying things out. Nothing leaves this machine, and everything it holds
is gone when it ends. It holds {held} images now.

Any token is good except bad-… and expired-…; any ID exists except unknown-….
It takes PDF (not encrypted), JPEG and PNG of up to {max_bytes} bytes, raw, with Content-Length.
Point ingestd at it with   url = "{base}"   in the [targets.concur] table."""

_UPLOAD = """\
curl -H 'Authorization: Bearer demo' -H 'Content-Type: image/jpeg' \\
     --data-binary @receipt.jpg {base}/api/image/v1.0/receipt

The other slots: expenseentry/ID and invoice/ID (one image each), report/ID (appends).
Read back, and fetch the <Url> of the answer (15 minutes, no Authorization):
curl -H 'Authorization: Bearer demo' {base}/api/image/v1.0/report/ID

A report of several images comes back as one PDF: pages of PDFs, JPEG and PNG drawn on pages of their own,
what can't be drawn attached to the PDF. Entries don't belong to reports here: only report images are in it.
Add -H 'Accept: application/json' for JSON."""

_SEE = """\
curl {base}/_sandbox/images                   every image in order (?slot=report/*, ?after=NUMBER)
curl {base}/_sandbox/images/1/content         its bytes
curl {base}/_sandbox/requests                 counts, limits, and the last requests (?limit=N)
curl {base}/_sandbox/logins                   who logged in, and how often tokens were refreshed
curl -X POST {base}/_sandbox/reset            forget everything

`account` is the fingerprint of a token: printf %s TOKEN | sha256sum | cut -c1-12; for tokens given by
/oauth2/v0/token it stands for the login and stays the same through refreshes.
`leak` is true, and counted in `leaks`, when an Authorization header came where none belongs."""

_BAD_DAY = """\
The ID picks the fault:  {entry}/fail-503-lunch  {report}/throttle-5  {invoice}/timeout
With -xN it happens N times, then all is well:  {entry}/fail-503-x2-lunch

Or write a plan; the first rule that fires wins, and a rule comes before the ID:
curl -X PUT {base}/_sandbox/faults -d '{{
  "faults": [
    {{"match": "receipt",  "fault": "fail-503", "times": 3}},
    {{"match": "report/*", "fault": "accept-then-drop", "after": 10, "probability": 0.1, "seed": 7}},
    {{"match": "*", "method": "GET", "fault": "slow-3"}}],
  "latency_seconds": 0.2,
  "switches": {{"too_large": 413}}}}'

match        a slot, * stands for anything; token or file for what is no slot; or a list of these
             (default "*")
method       POST, GET or *                              (default POST; GET for the GET-only faults)
after        let so many matching requests pass first    (default 0)
times        then spoil so many                          (default null: all)
probability  each with this chance; seed repeats a run   (default 1)

GET shows the plan with its counts, DELETE ends it. Authorization and unknown IDs are checked before any
fault; framing (length, type) before those that answer; the bytes before those that store."""

_TIMELINE = """\
Periods of seconds from the PUT on; their faults, latency and switches come before those of the plan:
curl -X PUT {base}/_sandbox/timeline -d '[
  {{"at": 0, "for": 60, "fault": "fail-503", "match": ["*", "token", "file"], "method": "*"}},
  {{"at": 90, "for": 30, "fault": "accept-then-drop", "probability": 0.2, "seed": 7}},
  {{"at": 90, "for": 60, "latency_seconds": 1.5, "switches": {{"rate": "5/1", "retry_after": 0}}}}]'

Or a storm that its seed repeats; calm is the share of the time when nothing happens (default 0.5):
curl -X PUT {base}/_sandbox/timeline -d '{{"seed": 7, "seconds": 600, "calm": 0.4, "faults": "all"}}'

GET shows what is in force and what each period met, DELETE ends it. A storm of "all" is made of
{names}"""

_LOGIN = """\
curl -d grant_type=refresh_token -d client_id=me -d client_secret=any \\
     -d refresh_token=any {base}/oauth2/v0/token

Also client_credentials, password (credtype=authtoken with a company's UUID and its request token), and
authorization_code with a code from {base}/oauth2/v0/authorize?client_id=…&redirect_uri=…&response_type=code,
which sends the browser back at once.
Refresh tokens rotate, and the old one dies. unknown-… clients and bad-… or expired-… secrets are refused.
A client_id or token called code-108-…, code-16-x1-…, html-502 or fail-503-x2 plays that, and so does a rule
with "match": "token". Access tokens given here expire; any other token is as good as ever."""
