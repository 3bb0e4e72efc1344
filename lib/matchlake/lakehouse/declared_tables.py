"""The tables that conf speaks of, as the product declares them."""

from matchlake.config import JobConfig
from matchlake.features.feature_tables import FEATURE_COUNTS, FEATURE_SETS, FEATURE_VOCABULARY
from matchlake.ingest.files.tables import lake_quarantine, lake_table
from matchlake.ingest.silver import cleanings
from matchlake.ingest.streams.audit_table import ledger_table
from matchlake.ingest.tables import stream_table
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import INTERACTIONS, TableSpec
from matchlake.training.scoring import TABLES as ANSWERS


def declared_tables(config: JobConfig) -> dict[str, TableSpec]:
    """By name the tables whose columns conf or the product declares.

    Those that get their columns from what is read, such as feature tables, are not among them.
    """
    specs = [
        *map(stream_table, config.streams.values()),
        ledger_table(config.ingest.ledger),
        *map(lake_table, config.lake.sources.values()),
        lake_quarantine(config.lake.quarantine),
        *(cleaning.spec() for cleaning in cleanings(config.silver, config.streams).values()),
        INTERACTIONS,
        *(FEATURE_SETS, FEATURE_VOCABULARY, FEATURE_COUNTS, COLUMN_PROFILES, DRIFT),
        *ANSWERS.values(),
    ]
    return {spec.name: spec for spec in specs}
