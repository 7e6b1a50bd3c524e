"""From documents to the one image that is sent: what is no receipt is told so in words a clerk understands.

`normalizing` runs in the daemon and reads no more than the first and last bytes of a document; `work` and
what it imports run only in the limited processes. Both know `exchange`, the words between them. Nothing is
imported here, so neither side loads the other: no parser in the daemon, no event loop in the fork server.
"""

JOB = "ingestd.normalizer.work:work"
"""What the limited processes are started with."""
