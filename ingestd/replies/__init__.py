"""Answers to the people who mail receipts: one for each message, composed from templates and handed to the
mail server. An answer is marked so that no program answers it (RFC 3834), and what strangers wrote never
reaches its header or its markup as it stood. SmtpHerald tells other things, to people of ours.
"""

from ingestd.replies.heralding import SmtpHerald
from ingestd.replies.sending import SmtpCorrespondent

__all__ = ["SmtpCorrespondent", "SmtpHerald"]
