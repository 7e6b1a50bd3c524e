"""What README.txt of a bundle says: what is in it, what is not, and how to prove it by hand."""

from collections.abc import Sequence

_TOP = """\
EVIDENCE

What became of these receipts, as the ledger of ingestd has it:

{receipts}

WHAT IS HERE

  manifest.json             every file of this bundle with its size and sha256
  verify.py                 proves all of it: python3 verify.py
  archives/                 what the files came in: the raw message, the archive
  receipt-NN/receipt.json   where it came from, where it went, what it is now
  receipt-NN/history.json   every step, each with the digest that chains it to the one before
  receipt-NN/attempts.json  every upload: when, how long, what the server answered
  receipt-NN/originals/     the files as they arrived, byte for byte, in their order
  receipt-NN/sent/          the image that was made of them, which is what is uploaded

Times are UTC. "at" in history.json counts microseconds since 1970-01-01.
"""

_ABSENT = """
WHAT IS NOT HERE

{absent}

"purged" means: it was removed on purpose when the time to keep originals was over; its hash stays.
"missing" and "damaged" mean: it should be in the spool and is not, or is not what arrived.
"""

_PROOF = """
HOW TO PROVE IT WITHOUT INGESTD

Unpack the bundle and run `python3 verify.py` there. It needs nothing but Python 3.8, and is short enough to
be read first. By hand:

1. Files. The sha256 of each file (sha256sum, or CertUtil -hashfile on Windows) is the one in manifest.json.
   The sha256 of an original is the one in receipt.json under "files"; that of the image is under "image".

2. History. For each row of history.json, from the first on, write one line of JSON: a list of

     [digest of the row before, receipt ID, number of the row, at, event, before, after, actor, reason]

   The digest before the first row is the empty text "", rows are numbered from 1, and "at" is the whole
   number. No blanks between the parts (separators "," and ":"), null for what is not there, every character
   beyond ASCII as \\uXXXX. The sha256 of this line, in hex and without a line break at its end, is the row's
   digest. So a row that is changed, added or taken out changes every digest behind it. The last one is
   "head" in manifest.json, and its number is "version".

3. Ledger. A bundle proves that it fits together. That it is what the ledger says, the keeper of the ledger
   proves: `ingestd audit` checks all of it, and the history in `ingestd show ID --json` ends with the same
   digest.
"""


def readme(receipts: Sequence[str], absent: Sequence[str]) -> str:
    """`receipts` and `absent` are lines of text, one for each."""
    lines = "\n".join(f"  {line}" for line in receipts)
    text = _TOP.format(receipts=lines)
    if absent:
        text += _ABSENT.format(absent="\n".join(f"  {line}" for line in absent))
    return text + _PROOF
