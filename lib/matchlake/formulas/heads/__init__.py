"""Heads: what turns the features of a row into its prediction, the same in every engine."""

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
"""A head, by its `kind`: a new kind is a file of this folder and a name here."""

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
