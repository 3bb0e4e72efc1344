"""What `monitor_models` watches; reading it starts no Spark."""

from pydantic import Field

from matchlake.params import Params, Settable
from matchlake.schemas import TableName


class WatchedModel(Params):
    """The rows of a model that are new, and how they differ from older ones."""

    time: str = Field(min_length=1)
    """The column with the time of a row: it belongs to the window of that time."""
    rows: TableName | None = None
    """The table or view with the new rows, with labels where they have arrived; null: the `rows`
    of the model."""


class MonitorParams(Params):
    """The job `monitor_models`."""

    models: dict[str, WatchedModel] = Field(default_factory=dict)
    """The watched models, by their names below `models`."""
    window_days: Settable[float] = Field(7, gt=0)
    """The window is so long, and ends when the job begins."""
    level: Settable[float] = Field(0.05, gt=0, lt=0.5)
    """The share of windows without any change in which there may be an alarm. Half of it is for
    drift, half for quality."""
    resamples: Settable[int] = Field(400, ge=100, le=10_000)
    """Resamples from which the noise of each measure is learned."""
    sample_rows: Settable[int] = Field(20_000, ge=100)
    """Rows of each side that are compared; of more, so many are drawn."""
    min_rows: Settable[int] = Field(30, ge=2)
    """A window with fewer rows, or fewer labels, is not judged."""
    retrain: bool = True
    """Whether an alarm opens the gate of the training job; false: it is only recorded."""
