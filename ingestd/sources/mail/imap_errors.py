"""What can go wrong between ingestd and an IMAP server, as sentences for the one who runs the mail server.

No text here ever holds a password or a token.
"""

from ingestd.interfaces import SourceUnavailable


class ImapError(SourceUnavailable):
    """The IMAP server can't be used now. The message names the server."""


class ImapLost(ImapError):
    """The connection is gone, or the server is silent or not understood: open a new session."""


class ImapLoginRefused(ImapError):
    """The server refuses this login: trying again soon will not help, and may lock the account."""


class ImapRefused(ImapError):
    """The server said NO or BAD to one command; the session goes on.

    `code` is the response code (RFC 9051 section 7.1) in upper case, empty when there is none.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Gone(Exception):
    """There is no message with this UID in the mailbox any more."""
