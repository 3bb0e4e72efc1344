"""An encoder is a file of its own: the modules that run all encoders name none of them."""

import ast
from typing import get_args

import pytest
from tests.support.sources import LIB

from matchlake.features.encoder import Encoder
from matchlake.features.fitted import FittedFeature
from matchlake.features.kinds import FITTED, Feature, Fitted

GENERIC = (
    *("feature_set", "feature_tables", "fit", "index_layouts", "model", "numpy_features"),
    *("params", "statistics"),
)
"""The modules of features that run any encoder."""
OWN = (
    *("bucketize", "categories", "fitted_categories", "fitted_number", "nonlinear", "numeric"),
    *("perfect_hash", "scalers", "vocabulary"),
)
"""The modules of single kinds of encoders."""


@pytest.mark.parametrize("module", GENERIC)
def test_generic_module_imports_no_encoder(module: str) -> None:
    tree = ast.parse((LIB / "features" / f"{module}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported & {f"matchlake.features.{own}" for own in OWN} == set()


def test_every_kind_has_a_fitted_form_and_every_method() -> None:
    kinds = [kind for part in get_args(get_args(Feature)[0]) for kind in _classes(part)]
    assert len(kinds) == len({kind.model_fields["kind"].default for kind in kinds})
    for kind in kinds:
        assert issubclass(kind, Encoder)
        assert kind.form in FITTED, kind
        assert kind.request is not Encoder.request
        assert kind.fixed_names is not Encoder.fixed_names
        assert kind.takes
        assert kind.type_pattern


def test_every_fitted_form_has_every_method() -> None:
    assert set(FITTED.values()) == set(get_args(get_args(Fitted)[0]))
    methods = ("learn", "accepts", "outputs", "sql_inputs", "sql_outputs", "sql_inverse")
    for name, form in FITTED.items():
        assert form.model_fields["form"].default == name
        for method in (*methods, "sql_unknown", "numpy", "inverse"):
            assert method in vars(form), (form, method)
        assert not form.gives_ones or "sql_indices" in vars(form)
        assert issubclass(form, FittedFeature)


def _classes(part: object) -> list[type[Encoder]]:
    """The classes of a member of a union, which may be an annotated union itself."""
    if isinstance(part, type):
        return [part]
    return [each for inner in get_args(part)[:1] for each in get_args(inner) or (inner,)]
