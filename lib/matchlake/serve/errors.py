"""What a request is refused with."""

from matchlake.errors import MatchlakeError


class RequestError(MatchlakeError):
    """A request that is not answered: its status, and the field that is wrong."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status
