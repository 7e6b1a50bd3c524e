"""The rival for mailboxes: a plain imaplib loop. Fetches each message, writes it with an fsync, marks it and
moves it.

No ledger, no retry, no deadline: a server that falls silent stops it for ever.
"""

import imaplib
import os
import ssl
import sys
from pathlib import Path


def main(host: str, port: int, ca_file: str, user: str, password: str, directory: Path) -> None:
    directory.mkdir()
    with imaplib.IMAP4_SSL(host, port, ssl_context=ssl.create_default_context(cafile=ca_file)) as client:
        client.login(user, password)
        client.create("Done")
        client.select("INBOX")
        _, (found,) = client.uid("SEARCH", "ALL")
        for uid in found.decode().split():
            _, answer = client.uid("FETCH", uid, "(BODY.PEEK[])")
            with (directory / uid).open("wb") as file:
                file.write(answer[0][1])
                file.flush()
                os.fsync(file.fileno())
            client.uid("STORE", uid, "+FLAGS.SILENT", "($Done)")
            client.uid("MOVE", uid, "Done")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:6], Path(sys.argv[6]))
