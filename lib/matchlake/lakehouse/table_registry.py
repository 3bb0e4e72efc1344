"""The registry of tables: every table that conf and the product declare, and who writes it."""

from matchlake.config import JobConfig
from matchlake.features.feature_tables import FEATURE_COUNTS, FEATURE_SETS, FEATURE_VOCABULARY
from matchlake.ingest.files.tables import lake_files, lake_quarantine, lake_table
from matchlake.ingest.images.tables import image_features, image_table
from matchlake.ingest.silver import silver_specs
from matchlake.ingest.streams.audit_table import batch_log_table
from matchlake.ingest.tables import stream_table
from matchlake.io.delta import Lakehouse
from matchlake.io.erased_users import ERASED_USERS
from matchlake.monitoring.tables import MODEL_QUALITY
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import INTERACTIONS, USER_ID, TableSpec
from matchlake.search.trial import TRIALS
from matchlake.training.feature_scores import FEATURE_SCORES
from matchlake.training.history import MODEL_HISTORY
from matchlake.training.model_params import predictions_spec
from matchlake.training.scoring import TABLES as ANSWERS


def declared_tables(config: JobConfig) -> dict[str, TableSpec]:
    """Every table that the jobs write, by name, with its comment and `written_by`.

    Feature tables (also those of images), training sets and tables of predictions have no columns
    here: these follow from what the job reads.
    """
    specs = [
        *map(stream_table, config.streams.values()),
        batch_log_table(config.ingest.batch_log),
        *map(lake_table, config.lake.sources.values()),
        lake_quarantine(config.lake.quarantine),
        lake_files(config.lake.file_log),
        *map(image_table, config.images.sources.values()),
        *(image_features(each) for each in config.images.sources.values() if each.features_table),
        *(silver.spec() for silver in silver_specs(config.silver, config.streams).values()),
        *([INTERACTIONS] if config.silver.interactions else []),
        *(
            TableSpec(
                each.table,
                each.comment,
                (),
                user_columns=each.persons,
                written_by="build_features",
            )
            for each in config.features.tables.values()
        ),
        *(FEATURE_SETS, FEATURE_VOCABULARY, FEATURE_COUNTS, COLUMN_PROFILES, DRIFT),
        *(
            TableSpec(
                each.table,
                each.comment,
                (),
                user_columns=each.user_columns or (USER_ID,),
                written_by="build_training_sets",
            )
            for each in config.training_sets.values()
        ),
        *ANSWERS.values(),
        *map(predictions_spec, config.models.values()),
        *(MODEL_HISTORY, MODEL_QUALITY, TRIALS, FEATURE_SCORES, ERASED_USERS),
    ]
    return {spec.name: spec for spec in specs}


def table_names(lakehouse: Lakehouse, config: JobConfig) -> list[str]:
    """The tables that exist: all below a local folder, and the declared ones of a catalog.

    A catalog may hold tables of others too, so there the registry decides.
    """
    named = lakehouse.register_tables() if lakehouse.folder else declared_tables(config)
    return [table for table in named if lakehouse.exists(table)]
