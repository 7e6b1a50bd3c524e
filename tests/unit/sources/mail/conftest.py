"""The mail server of tests/mail for the tests of this room."""

from tests.mail.conftest import dovecot, user

__all__ = ["dovecot", "user"]
