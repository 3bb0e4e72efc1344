"""An ONNX model that gives one vector per image, in onnxruntime."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.errors import ConfigError, ModelError
from matchlake.ingest.images.decode import Pixels, normalized, shorter_side
from matchlake.ingest.images.params import IMAGENET_SIZE, Preprocessing

Numbers = npt.NDArray[np.float32]

_COLOURS = 3
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_PROBES = 2
"""The images of the first call. With 1, any axis of length 1 would look like the batch axis."""


class BackboneSpec(NamedTuple):
    """A model and how to call it, as plain values that tasks can receive."""

    path: str
    model_hash: str
    """The sha256 of the file."""
    output: str | None
    device: str
    steps: Preprocessing
    batch_size: int


class ImageInput(NamedTuple):
    """The input of a model, as the file declares it."""

    name: str
    channels_first: bool
    side: int | None
    """Height and width; None: any."""
    batch: int | None
    """The number of images per call; None: any."""


@dataclass(frozen=True)
class Backbone:
    """A model in this process."""

    session: Any = field(repr=False)
    input: ImageInput
    output: str
    steps: Preprocessing
    side: int
    """Height and width of the images that `embed` takes."""
    device: str
    """Where it runs: cpu or cuda."""

    def embed(self, pixels: Pixels) -> Numbers:
        """The embeddings [n, numbers] of RGB pixels [n, side, side, 3].

        Raises ModelError if the model does not run, or does not give one vector per image.
        """
        count = len(pixels)
        size = self.input.batch or count
        values = normalized(pixels, self.steps)
        parts = [self._run(values[at : at + size], size) for at in range(0, count, size)]
        return np.concatenate(parts)

    def _run(self, values: Numbers, size: int) -> Numbers:
        """Calls the model once. Pads a fixed batch with zeros, and drops the padding's results."""
        full = np.zeros((size, *values.shape[1:]), np.float32)
        full[: len(values)] = values
        if self.input.channels_first:
            full = np.ascontiguousarray(full.transpose(0, 3, 1, 2))
        try:
            (found,) = self.session.run([self.output], {self.input.name: full})
        except Exception as error:  # noqa: BLE001 - onnxruntime raises errors of several kinds
            raise ModelError(f"onnxruntime cannot run the model: {_first_line(error)}") from None
        vectors = np.asarray(found)
        shape = list(vectors.shape)
        if shape[:1] != [size] or len(shape) == 1 or any(length != 1 for length in shape[2:]):
            raise ModelError(
                f"The output {self.output} has the shape {shape} for {size} image(s): it is not"
                " one vector per image. Name another `output`, such as that of a pooling layer."
            )
        return vectors.reshape(size, shape[1])[: len(values)].astype(np.float32)


def model_hash(path: str) -> str:
    """The sha256 of a model's file. Raises ConfigError if the file is missing."""
    return hashlib.sha256(_read(path)).hexdigest()


@lru_cache(maxsize=2)
def open_backbone(spec: BackboneSpec) -> Backbone:
    """The model in this process, opened once for all tasks of the process.

    Raises:
        ConfigError: the model takes no images, or images of another size.
        ModelError: the file has changed since its hash was taken, or onnxruntime cannot read it.
    """
    data = _read(spec.path)
    if hashlib.sha256(data).hexdigest() != spec.model_hash:
        raise ModelError(f"{spec.path} has changed since the job began. Run the job again.")
    session = _session(data, spec)
    entry = _image_input(session, spec.path)
    side = _side(entry, spec.steps)
    outputs = [each.name for each in session.get_outputs()]
    output = spec.output or outputs[0]
    if output not in outputs:
        names = ", ".join(outputs)
        raise ConfigError(f"{spec.path} has no output {output}; its outputs are {names}.")
    device = "cuda" if session.get_providers()[0] == _CUDA else "cpu"
    return Backbone(session, entry, output, spec.steps, side, device)


def dimensions(backbone: Backbone) -> int:
    """The length of an embedding, from a first call with black images."""
    black = np.zeros((_PROBES, backbone.side, backbone.side, _COLOURS), np.uint8)
    return int(backbone.embed(black).shape[1])


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"The model {path} cannot be read: {error.strerror}.") from None


def _session(data: bytes, spec: BackboneSpec) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - the extra `images`
    except ImportError:
        raise ConfigError("embed_images needs onnxruntime: install the extra `images`.") from None

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # one task per core
    has_gpu = spec.device != "cpu" and _CUDA in onnxruntime.get_available_providers()
    providers = [_CUDA, _CPU] if has_gpu else [_CPU]
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises errors of several kinds
        raise ModelError(f"{spec.path} is not a usable ONNX model: {_first_line(error)}") from None


def _image_input(session: Any, path: str) -> ImageInput:
    inputs = session.get_inputs()
    told = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
    shape = list(inputs[0].shape) if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
    sizes = [each if isinstance(each, int) and each > 0 else None for each in shape]
    match sizes:
        case [batch, 3, height, width]:
            channels_first = True
        case [batch, height, width, 3]:
            channels_first = False
        case _:
            height, width, batch, channels_first = 0, -1, None, False
    if height != width:
        raise ConfigError(
            f"{path} does not take square RGB images: its inputs are {told}. One input of floats is"
            " needed, with the shape [images, 3, side, side] or [images, side, side, 3]."
        )
    return ImageInput(inputs[0].name, channels_first, height, batch)


def _side(entry: ImageInput, steps: Preprocessing) -> int:
    side = steps.crop or entry.side or IMAGENET_SIZE
    if entry.side not in (None, side):
        raise ConfigError(f"preprocessing.crop is {side}, but the model takes {entry.side}.")
    if shorter_side(side, steps) < side:
        raise ConfigError(f"preprocessing.resize {steps.resize} is less than the crop size {side}.")
    return side


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
