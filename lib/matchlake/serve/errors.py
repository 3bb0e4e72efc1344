"""The error with which a request is refused."""

from matchlake.errors import MatchlakeError


class RequestError(MatchlakeError):
    """A refused request, with the HTTP status and the wrong field."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status
