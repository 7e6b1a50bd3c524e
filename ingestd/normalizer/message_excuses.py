"""Parts of a message that nobody means as receipts: what mail programs add, and what can't be read here.

Asked only about what is neither a PDF, a picture, an archive nor a message.
"""

import re

from ingestd.normalizer.exchange_mail import Excuse
from ingestd.normalizer.message_parts import Part

_SIGNATURES = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
    | {"application/pgp-keys"}  # Thunderbird puts the key beside it
)
_CONTACTS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
_SMIME = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_REPORTS = frozenset(
    {"message/delivery-status", "message/disposition-notification", "message/global-delivery-status"}
    | {"message/feedback-report", "text/rfc822-headers", "message/global-headers"}
)
# Exchange turns text that stands behind an attachment into a file of this name.
_TEXT_AS_FILE = re.compile(r"att\d{5}\.(?:txt|htm|html)", re.IGNORECASE)


def excuse_of_part(part: Part, found: str) -> Excuse | None:
    """`found`: the type that its bytes have. None: it is told as what it is when it is prepared."""
    if part.mime_type in _SMIME and part.parameters.get("smime-type", "").lower() == "signed-data":
        return Excuse.SIGNED
    is_file = bool(part.name) or part.disposition == "attachment"
    return _excuse(part.name.lower(), part.mime_type, found, is_file=is_file)


def excuse_of_file(name: str, found: str) -> Excuse | None:
    """Of a file that stands within a part, where only its name and its bytes tell."""
    return _excuse(name.lower(), found, found, is_file=True)


def _excuse(name: str, mime_type: str, found: str, *, is_file: bool) -> Excuse | None:
    excuse = _added(name, mime_type, found) or _unreadable(name, mime_type, found)
    if excuse is not None or not is_file:
        return excuse
    is_page = found == "text/html" or (mime_type == "text/html" and found == "text/plain")
    return Excuse.WEB_PAGE if is_page else None


def _added(name: str, mime_type: str, found: str) -> Excuse | None:
    types = {mime_type, found}
    if mime_type in _SIGNATURES or name.endswith(".p7s") or name == "signature.asc":
        return Excuse.SIGNATURE
    if "text/calendar" in types or name.endswith(".ics"):
        return Excuse.CALENDAR
    if types & _CONTACTS or name.endswith(".vcf"):
        return Excuse.CONTACT
    if mime_type in _REPORTS:
        return Excuse.REPORT
    if mime_type in ("application/applefile", "application/mac-binhex40"):
        return Excuse.FORMATTING
    return Excuse.TEXT if _TEXT_AS_FILE.fullmatch(name) else None


def _unreadable(name: str, mime_type: str, found: str) -> Excuse | None:
    if mime_type in ("message/external-body", "message/partial"):
        return Excuse.ELSEWHERE
    if mime_type == "application/pgp-encrypted" or name.endswith((".pgp", ".gpg")):
        return Excuse.ENCRYPTED
    if found == "application/pkcs7-mime":
        return Excuse.SIGNED
    return Excuse.ENCRYPTED if mime_type in _SMIME or name.endswith(".p7m") else None
