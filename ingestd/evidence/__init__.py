"""Evidence: a zip that proves what became of a receipt to somebody who has neither ingestd nor its ledger.

`bundle` writes it, `naming` makes names safe, `wording` explains it, `verify` is the program that goes along.
Nothing here reads the ledger.
"""

from ingestd.evidence.bundle import Absent, Case, Piece, Written, write_bundle

__all__ = ["Absent", "Case", "Piece", "Written", "write_bundle"]
