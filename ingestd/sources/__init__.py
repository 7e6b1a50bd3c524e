"""Where receipts come from. Each source implements interfaces.Source and keeps its originals safe until the
ledger has them: an arrival is acknowledged only after its bytes and its rows are durable.
"""
