"""A client of a schema registry: schemas by id, within limits."""

import json
import urllib.error
import urllib.request
from typing import Any

from matchlake.errors import SourceError
from matchlake.ingest.parse.formats import ConfluentAvroOptions
from matchlake.ingest.rejections import ErrorCode, Rejection

_NOT_FOUND = 404
_MAX_BYTES = 2**20
_MAX_NESTING = 200
"""The maximum depth of nested JSON objects and arrays in a schema."""
_PARSED = "__fastavro_parsed"
"""A key that makes fastavro skip the check of a schema."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: requests go to the declared registry only."""

    def redirect_request(self, *_: Any) -> None:
        """Follows no redirect."""


class SchemaRegistry:
    """Fetches schemas. Stops after too many ids without a usable schema."""

    def __init__(self, options: ConfluentAvroOptions) -> None:
        self._options = options
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._unusable = 0
        most = options.max_unknown_schemas
        self.exhausted = Rejection(
            ErrorCode.UNKNOWN_SCHEMA,
            f"not requested: {most} other ids of the same task have no usable schema; "
            "max_unknown_schemas limits them",
        )
        """The rejection of values whose schema is no longer requested."""

    def schema(self, number: int) -> Any:
        """The JSON of an Avro schema, or the rejection of all values that name it.

        Raises SourceError if the registry gives no usable response: the record may be correct.
        """
        if self._unusable >= self._options.max_unknown_schemas:
            return self.exhausted
        try:
            return self._requested(number)
        except _UnusableError as error:
            self.count_unusable()
            return Rejection(ErrorCode.UNKNOWN_SCHEMA, str(error))

    def count_unusable(self) -> None:
        """Counts one more id without a usable schema."""
        self._unusable += 1

    def _requested(self, number: int) -> Any:
        address = f"{self._options.registry}/schemas/ids/{number}"
        try:
            with self._opener.open(
                address, timeout=self._options.registry_timeout_seconds
            ) as answer:
                text = answer.read(_MAX_BYTES + 1)
            if len(text) > _MAX_BYTES:
                raise _UnusableError(f"the answer for schema {number} is larger than 1 MiB")
            found = json.loads(text)
            schema, kind = found["schema"], found.get("schemaType", "AVRO")
        except urllib.error.HTTPError as error:
            if error.code == _NOT_FOUND:
                raise _UnusableError(f"the registry has no schema {number}") from None
            reason = f"answered with HTTP status {error.code}"
            raise SourceError(f"The schema registry at {address} {reason}.") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise SourceError(
                f"The schema registry at {address} gave no usable response: {error}. "
                "Nothing of the batch was written; the next run reads it again."
            ) from error
        if kind != "AVRO":
            raise _UnusableError(f"schema {number} is {kind}, not AVRO")
        return _parsed(schema, number)


class _UnusableError(Exception):
    """An id without a usable schema."""


def _parsed(text: Any, number: int) -> Any:
    try:
        schema = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise _UnusableError(f"schema {number} is not JSON: {error}") from None
    waiting = [(schema, 1)]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, dict | list):
            continue
        if depth > _MAX_NESTING:
            raise _UnusableError(f"schema {number} is nested deeper than {_MAX_NESTING}")
        if _PARSED in node:
            raise _UnusableError(f"schema {number} holds {_PARSED}")
        inside = node.values() if isinstance(node, dict) else node
        waiting += [(each, depth + 1) for each in inside]
    return schema
