"""Mailboxes: where messages with receipts come from, who may send them, and what becomes of them afterwards.

A message is touched only after its bytes and its rows are durable. A connection is disposable: whatever a
server does or fails to do ends it, and another one is opened.
"""
