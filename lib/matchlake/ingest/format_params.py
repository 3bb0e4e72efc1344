"""How the values of a stream are written, where that takes more than a name."""

import urllib.parse
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.params import Params

Format = Literal["json", "csv", "avro", "confluent_avro", "protobuf"]


class FormatParams(Params):
    """What a format needs to be told; each key is for the format that it names."""

    separator: str = Field(",", min_length=1, max_length=1)
    """csv: what stands between the fields, which are the declared columns in their order."""
    quote: str = Field('"', min_length=1, max_length=1)
    """csv: what stands around a field that holds a separator."""
    avro_schema: dict[str, Any] | None = None
    """avro: the schema that the values were written with."""
    registry: str | None = None
    """confluent_avro: the address of the schema registry, http or https."""
    registry_timeout_seconds: float = Field(10.0, gt=0)
    """confluent_avro: seconds to wait for the registry's answer before the batch fails."""
    descriptors: str | None = None
    """protobuf: file of a FileDescriptorSet (`protoc --include_imports -o FILE`), where every
    worker can read it."""
    message: str | None = None
    """protobuf: full name of the message."""

    @field_validator("registry")
    @classmethod
    def _is_an_address(cls, registry: str | None) -> str | None:
        if registry and not registry.startswith(("http://", "https://")):
            raise ValueError("registry has to begin with http:// or https://")
        if registry and "@" in urllib.parse.urlsplit(registry).netloc:
            raise ValueError("registry must hold no login: conf and messages show it")
        return registry.rstrip("/") if registry else registry


class WithFormat(Params):
    """The keys of a stream that say how its values are written and what else they may hold."""

    format: Format = "json"
    """json: one object a message; csv: one row; avro; confluent_avro: Avro after a schema's id in
    a registry; protobuf."""
    reading: FormatParams = FormatParams()
    """What the format needs to be told."""
    undeclared: Literal["ignore", "refuse", "rescue"] = "ignore"
    """Fields that are not declared: let be, refused with their record, or kept in `rescued`."""

    @model_validator(mode="after")
    def _told_enough(self) -> Self:
        needed = {
            "avro": ("avro_schema",),
            "confluent_avro": ("registry",),
            "protobuf": ("descriptors", "message"),
        }
        for key in needed.get(self.format, ()):
            if getattr(self.reading, key) is None:
                raise ValueError(f"format {self.format} needs reading.{key}")
        return self
