"""The flow, one direction: intake | preparation | delivery, then feedback; upkeep beside them.

The stages never hand receipts to each other: each takes what the ledger says is its, so the backlog costs no
memory and any crash leaves a complete picture. Everything outside is known by its protocol only.
"""

from ingestd.pipeline.flow import Flow, IntakeSettings, UpkeepSettings
from ingestd.pipeline.run import Pipeline, RunResult

__all__ = ["Flow", "IntakeSettings", "Pipeline", "RunResult", "UpkeepSettings"]
