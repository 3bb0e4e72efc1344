"""Small ONNX models with seeded weights, and what they give by NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper, save_model

Array = npt.NDArray[Any]
Dimension = int | str | None


def pooled(
    path: Path,
    numbers: int = 4,
    seed: int = 0,
    side: Dimension = "side",
    batch: Dimension = "images",
    *,
    channels_first: bool = True,
) -> Array:
    """Writes a global average pooling and a matrix [3, numbers]; returns the matrix.

    Its outputs are `vectors`, `maps` [images, 3, side, side] and `pooled` [images, 3, 1, 1].
    """
    matrix = np.random.default_rng(seed).normal(size=(3, numbers)).astype(np.float32)
    first, last = ([batch, 3, side, side], [batch, side, side, 3])
    ordered = helper.make_node("Transpose", ["image"], ["maps"], perm=[0, 3, 1, 2])
    same = helper.make_node("Identity", ["image"], ["maps"])
    nodes = [
        same if channels_first else ordered,
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["vectors"]),
    ]
    outputs = {"vectors": [batch, numbers], "maps": first, "pooled": [batch, 3, 1, 1]}
    _save(path, nodes, first if channels_first else last, outputs, {"matrix": matrix})
    return matrix


def flattened(path: Path, side: int, numbers: int = 5, seed: int = 0) -> Array:
    """Writes a matrix over all pixels, [3 * side * side, numbers]; returns the matrix."""
    matrix = np.random.default_rng(seed).normal(size=(3 * side * side, numbers))
    matrix = (matrix / side).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["vectors"]),
    ]
    shape: list[Dimension] = ["images", 3, side, side]
    _save(path, nodes, shape, {"vectors": ["images", numbers]}, {"matrix": matrix})
    return matrix


def _save(
    path: Path,
    nodes: list[Any],
    image: list[Dimension],
    outputs: dict[str, list[Dimension]],
    weights: dict[str, Array],
) -> None:
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def imagenet(pixels: Array) -> Array:
    """RGB pixels [..., 3] as ImageNet's models expect them, in double precision."""
    return (pixels / 255 - MEAN) / STD


def pooled_oracle(pixels: Array, matrix: Array) -> Array:
    """The embedding of pixels [side, side, 3] by `pooled`."""
    return imagenet(pixels).mean(axis=(0, 1)) @ matrix.astype(float)
