"""The kinds of encoders, and the forms of what they learn: a new one is a line here.

A new numeric encoder also is a name in `fitted_number.AnyNumber`, which shares one fitted form. A
new categorical encoder brings its own form, or shares that of one-hot.
"""

from typing import Annotated

from pydantic import Field

from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.fitted import FittedFeature
from matchlake.features.fitted_categories import FittedCategories
from matchlake.features.fitted_number import AnyNumber, FittedNumber

Feature = Annotated[OneHot | MultiHot | AnyNumber, Field(discriminator="kind")]
"""A declared feature, by its `kind`."""

Fitted = Annotated[FittedNumber | FittedCategories, Field(discriminator="form")]
"""A fitted feature, by its `form`."""

FITTED: dict[str, type[FittedFeature]] = {
    "number": FittedNumber,
    "categories": FittedCategories,
}
"""The fitted form by the `form` of an encoder."""
