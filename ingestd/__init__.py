"""ingestd: receipts from folders and mailboxes to SAP Concur and Procore, with proof."""

__version__ = "0.1.0"
