"""The base of every parameter class: frozen, and without unknown keys."""

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Parameters of one part of the product; unknown keys and later changes are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )
