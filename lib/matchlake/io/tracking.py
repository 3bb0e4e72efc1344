"""Runs and models in MLflow."""

from matchlake.params import Params


class TrackingParams(Params):
    """Where runs are tracked and under which names."""

    uri: str | None = None


class Tracker:
    """Logs runs and registers models; connects on first use."""

    def __init__(self, params: TrackingParams) -> None:
        self._params = params
