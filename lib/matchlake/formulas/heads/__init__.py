"""Heads: fitted models that compute the same prediction of a row in every engine."""

from typing import Annotated

from pydantic import Field

from matchlake.formulas.heads.centroids import CentroidsHead
from matchlake.formulas.heads.external import OpaqueHead
from matchlake.formulas.heads.folder import Folder, loads_models
from matchlake.formulas.heads.head import Head, HeadOutput, Task
from matchlake.formulas.heads.linear import LinearHead
from matchlake.formulas.heads.network import GraphHead
from matchlake.formulas.heads.trees import TreesHead

AnyHead = Annotated[
    LinearHead | TreesHead | CentroidsHead | GraphHead | OpaqueHead, Field(discriminator="kind")
]
"""Any head, distinguished by `kind`. A new kind is a new file of this folder, listed here."""

__all__ = [
    "AnyHead",
    "CentroidsHead",
    "Folder",
    "GraphHead",
    "Head",
    "HeadOutput",
    "LinearHead",
    "OpaqueHead",
    "Task",
    "TreesHead",
    "loads_models",
]
