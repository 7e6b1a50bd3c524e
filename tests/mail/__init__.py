"""A real IMAP server for every test that speaks with a mailbox."""
