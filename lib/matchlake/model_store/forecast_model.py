"""A forecast model: the fitted parameters of each series, in a folder and in MLflow."""

from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ModelError, SchemaError
from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax_frame import Key, SeriesColumns, forecast_sarimax
from matchlake.params import Params, first_problem
from matchlake.schemas import quote_identifier

FORECAST_FILE = "forecast_model.json"
OUTPUTS = ("prediction", "low", "high")
_NEEDS = ("mlflow", "numpy", "pandas", "pydantic", "statsmodels")


class FittedSeries(Params):
    """One series: its parameters, or the reason why it has none."""

    key: tuple[str | None, ...]
    parameters: tuple[float, ...] | None = None
    reason: str | None = None


class ForecastModel(Params):
    """Seasonal ARIMA models of many series. `to_json` and `from_json` keep the whole model."""

    schema_version: Literal[1] = 1
    """The schema version; a release that changes the schema increments it."""
    name: str = Field(min_length=1, max_length=128)
    params: SarimaxParams
    series: tuple[str, ...]
    """The columns that identify a series."""
    time: str
    value: str
    """The column with the values."""
    fitted: tuple[FittedSeries, ...]

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Returns the columns that a forecast reads: keys, time, value, and exogenous columns."""
        return (*self.series, self.time, self.value, *self.params.exogenous)

    @property
    def columns(self) -> SeriesColumns:
        """Returns the columns that define the series in a table for `transform`."""
        return SeriesColumns(self.series, self.time, self.value)

    @cached_property
    def parameters(self) -> dict[Key, tuple[float, ...]]:
        """Returns the parameters of the series that have some, by key."""
        return {each.key: each.parameters for each in self.fitted if each.parameters is not None}

    @cached_property
    def reasons(self) -> dict[Key, str]:
        """Returns the reasons of the series without parameters, by key."""
        return {each.key: each.reason for each in self.fitted if each.reason is not None}

    def transform(self, frame: DataFrame) -> DataFrame:
        """Forecasts each series. Columns: those of the series, the time, OUTPUTS, `reason`. Lazy.

        The parameters stay as fitted; the forecast starts after the newest rows of `frame`. A
        series without a forecast has one row with its reason, and without a time. Raises
        SchemaError for missing columns.
        """
        missing = [name for name in self.needed_columns if name not in frame.columns]
        if missing:
            raise SchemaError.missing("the table of series", missing, frame.columns)
        known = (self.parameters, self.reasons)
        made = forecast_sarimax(frame, self.columns, self.params, *known)
        kinds = dict(frame.dtypes)
        typed = {
            name: F.col(quote_identifier(name)).cast(kinds[name])
            for name in (*self.series, self.time)
        }
        return made.withColumns(typed)

    def to_json(self) -> str:
        """The whole model as JSON."""
        return self.model_dump_json(exclude_none=True)

    @classmethod
    def from_json(cls, text: str) -> "ForecastModel":
        """Reads the JSON of `to_json`; raises ModelError for any other string."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"This is not a forecast model of schema version 1: {first_problem(error)}. "
                "Train the model again."
            ) from None


def save_forecast_model(model: ForecastModel, folder: Path) -> None:
    """Writes a model into a new folder."""
    folder.mkdir(parents=True)
    (folder / FORECAST_FILE).write_text(model.to_json(), encoding="utf-8")


def load_forecast_model(folder: Path) -> ForecastModel:
    """Loads the model of a folder; raises ModelError if it is missing or damaged."""
    path = folder / FORECAST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ModelError(
            f"{folder} has no forecast model: {path.name} cannot be read. Train the model again."
        ) from None
    return ForecastModel.from_json(text)


def forecast_flavor(folder: Path, scoring: str) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.log_model` for the model in `folder`, as artifact `scoring`."""
    from mlflow.models import ModelSignature  # noqa: PLC0415 - seconds to import
    from mlflow.types.schema import ColSpec, DataType, Schema  # noqa: PLC0415

    model = load_forecast_model(folder)
    numbers = [model.value, *model.params.exogenous]
    inputs = [ColSpec(DataType.string, name, required=False) for name in model.series]
    inputs += [ColSpec(DataType.datetime, model.time)]
    inputs += [ColSpec(DataType.double, name, required=False) for name in numbers]
    outputs = [ColSpec(DataType.string, name) for name in (*model.series, "reason")]
    outputs += [ColSpec(DataType.datetime, model.time)]
    outputs += [ColSpec(DataType.double, name) for name in OUTPUTS]
    example: dict[str, list[Any]] = {name: ["a"] for name in model.series}
    example |= {model.time: [pd.Timestamp("2024-01-01")]}
    example |= {name: [1.0] for name in numbers}
    return {
        "python_model": str(Path(__file__).with_name("forecast_pyfunc.py")),
        "artifacts": {scoring: str(folder)},
        "code_paths": [str(Path(__file__).parents[1])],
        "input_example": pd.DataFrame(example),
        "signature": ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
        "pip_requirements": [f"{name}=={version(name)}" for name in _NEEDS],
        "metadata": {"matchlake_version": version("matchlake"), "task": "forecasting"},
    }
