"""Parameters of the job `monitor_models`; importing them does not start Spark."""

from pydantic import Field

from matchlake.params import Params, Settable
from matchlake.schemas import TableName


class WatchedModel(Params):
    """Where the new rows of a monitored model are: the table and its time column."""

    time: str = Field(min_length=1)
    """The column with the time of a row, which decides whether the row is in the window."""
    rows: TableName | None = None
    """The table or view with the new rows, with labels where they have arrived; null: the `rows`
    of the model."""


class MonitorParams(Params):
    """Parameters of the job `monitor_models`."""

    models: dict[str, WatchedModel] = Field(default_factory=dict)
    """The monitored models, by their names in `models`."""
    window_days: Settable[float] = Field(7, gt=0)
    """Length of the window in days, up to the start of the job."""
    level: Settable[float] = Field(0.05, gt=0, lt=0.5)
    """Significance level: the false alarm rate of a window without drift. Half of it is for the
    drift test, half for the quality test."""
    resamples: Settable[int] = Field(400, ge=100, le=10_000)
    """The number of resamples of the drift test and of the quality test."""
    sample_rows: Settable[int] = Field(20_000, ge=100)
    """Maximum rows per side; larger sides are sampled."""
    min_rows: Settable[int] = Field(30, ge=2)
    """Minimum rows for the drift test, and minimum labels for the quality test."""
    retrain: bool = True
    """Whether an alert starts the training job; false: it is only recorded."""
