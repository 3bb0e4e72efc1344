r"""Renders expression trees as ONNX graphs that compute in double.

ONNX has no null: a missing number is NaN, a missing string is `\1`, and shorter lists are padded
with `\2` (`onnx_text`). ONNX has no errors: the output `refused` marks the rows that a formula
refuses. The package onnx, of the extra `models`, is imported only to build a graph.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.formulas.tree import Call, Column, Constant, Expression, Input, Refuse

OPSETS = {"": 21, "ai.onnx.ml": 5}
IR_VERSION = 10
"""The version that runtimes of 2024 support and that has all operators used here."""

NULL_TEXT, PADDING = "\1", "\2"
_ESCAPED = str.maketrans({each: f"\3{each}" for each in range(4)})
"""Runtimes in C end a string at the character 0."""
REFUSED = "refused"

_OPERATORS = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "negative": "Neg",
    "absolute": "Abs",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "or": "Or",
    "least": "Min",
    "greatest": "Max",
    "is_missing": "IsNaN",
    "when": "Where",
}


def onnx_text(text: str | None) -> str:
    """Returns a string, or null, as it goes into a graph; different values stay different."""
    if text is None:
        return NULL_TEXT
    return text.translate(_ESCAPED)


class Graph:
    """An ONNX graph under construction; values are known by their names."""

    def __init__(self) -> None:
        import onnx  # noqa: PLC0415 - the extra `models`
        import onnx.compose  # noqa: PLC0415
        import onnx.version_converter  # noqa: PLC0415

        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._initializers: list[Any] = []
        self._inputs: dict[str, Any] = {}
        self._outputs: list[Any] = []
        self._refused: list[str] = []
        self._rendered: dict[int, tuple[Expression, str]] = {}

    def number_input(self, column: str) -> str:
        """The input of a numeric column, double [rows]."""
        return self.input(column, "DOUBLE", ["rows"])

    def matrix_input(self, name: str, columns: int) -> str:
        """The input of a whole matrix, double [rows, columns]."""
        return self.input(name, "DOUBLE", ["rows", columns])

    def text_input(self, column: str, *, is_list: bool) -> str:
        """Declares the input of a string column [rows], or of a list column [rows, length]."""
        shape = ["rows", f"length of {column}"] if is_list else ["rows"]
        return self.input(text_input_name(column), "STRING", shape)

    def input(self, name: str, kind: str, shape: Sequence[str | int]) -> str:
        """Declares an input of any type and shape; returns its name."""
        helper = self._onnx.helper
        element = getattr(self._onnx.TensorProto, kind)
        self._inputs[name] = helper.make_tensor_value_info(name, element, shape)
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name."""
        kept = self._kept(operator, inputs) if operator in ("Add", "Sub", "Mul", "Div") else None
        if kept is not None:
            return kept
        name = f"v{len(self._nodes)}"
        self._nodes.append(
            self._onnx.helper.make_node(operator, inputs, [name], domain=domain, **attributes)
        )
        return name

    def _kept(self, operator: str, inputs: Sequence[str]) -> str | None:
        """Returns the operation in an equivalent form; None if the operation can stay.

        onnxruntime removes an operation with a constant that is 0 or 1 after rounding to 32 bits.
        It also replaces `1 / x * y` by `y / x`. Inverting the signs prevents both, and the results
        stay the same.
        """
        for position, name in enumerate(inputs):
            value = self._arrays.get(name)
            if value is None or value.size != 1 or (position == 0 and operator == "Sub"):
                continue
            number, single, other = value.item(), np.float32(value.item()), inputs[1 - position]
            if operator == "Div" and position == 0:
                if single == 1:
                    return self.add("Neg", self.add("Div", self.constant(-value), other))
                continue
            if operator in ("Mul", "Div") and single == 1 != number:
                return self.add("Neg", self.add(operator, other, self.constant(-value)))
            if operator in ("Add", "Sub") and single == 0 != number:
                first = value if operator == "Sub" else -value
                return self.add("Neg", self.add("Sub", self.constant(first), other))
        return None

    def add_two(self, operator: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """Adds a node with two outputs; returns their names."""
        first = f"v{len(self._nodes)}"
        names = first, f"{first}.second"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, names, **attributes))
        return names

    def tensor(self, values: npt.ArrayLike) -> Any:
        """An array as a tensor for an attribute."""
        return self._onnx.numpy_helper.from_array(np.asarray(values))

    def constant(self, values: npt.ArrayLike) -> str:
        """Adds an array as a constant; equal arrays share one constant."""
        array = np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"c{len(self._initializers)}"
            self._initializers.append(self._onnx.numpy_helper.from_array(array, name))
            self._constants[key] = name
            self._arrays[name] = array
        return self._constants[key]

    def double(self, value: float) -> str:
        """A number as a constant."""
        return self.constant(np.float64(value))

    def integer(self, value: int) -> str:
        """Adds an integer as a constant."""
        return self.constant(np.int64(value))

    def integers(self, values: Sequence[int]) -> str:
        """Adds integers as a constant, such as axes."""
        return self.constant(np.array(values, np.int64))

    def cast(self, value: str, kind: str) -> str:
        """The value in another type, such as DOUBLE."""
        return self.add("Cast", value, to=getattr(self._onnx.TensorProto, kind))

    def sliced(self, value: str, first: int, end: int, axis: int, step: int = 1) -> str:
        """The elements from `first` to before `end` of an axis."""
        bounds = [self.integers([each]) for each in (first, end, axis, step)]
        return self.add("Slice", value, *bounds)

    def any_missing(self, matrix: str) -> str:
        """Adds whether each row of the matrix has NaN, boolean [rows, 1]."""
        flags = self.cast(self.add("IsNaN", matrix), "INT32")
        most = self.add("ReduceMax", flags, self.integers([1]), keepdims=1)
        return self.cast(most, "BOOL")

    def codes(self, texts: str, codes: Mapping[str, int], default: int) -> str:
        """Adds the code of each string, or `default`."""
        return self.add(
            "LabelEncoder",
            texts,
            domain="ai.onnx.ml",
            keys_strings=list(codes),
            values_int64s=list(codes.values()),
            default_int64=default,
        )

    def label(self, positions: str, labels: Sequence[str]) -> str:
        """The label at each position; `NULL_TEXT` for another position."""
        return self.add(
            "LabelEncoder",
            positions,
            domain="ai.onnx.ml",
            keys_int64s=list(range(len(labels))),
            values_strings=list(labels),
            default_string=NULL_TEXT,
        )

    def inline(self, model: Any, given: str) -> str:
        """Adds a model whose one input is `given`; returns the name of its one output."""
        converted = self._onnx.version_converter.convert_version(model, OPSETS[""])
        prefix = f"n{len(self._nodes)}."
        inner = self._onnx.compose.add_prefix(converted, prefix).graph
        self._initializers += inner.initializer
        self._nodes.append(self._onnx.helper.make_node("Identity", [given], [inner.input[0].name]))
        self._nodes += inner.node
        return str(inner.output[0].name)

    def refuse(self, condition: str) -> None:
        """Marks the rows, boolean [rows], where `condition` holds as refused."""
        self._refused.append(condition)

    def render(self, expression: Expression, inputs: Mapping[str, str]) -> str:
        """Adds a formula as nodes; returns the name of its value [rows], or scalar.

        `inputs` has the name of a graph value for each input of the formula.
        """
        match expression:
            case Input(name):
                return inputs[name]
            case Column(name):
                return self.number_input(name)
            case Constant(value):
                return self.double(float("nan") if value is None else value)
            case Refuse(condition, _, value):
                self.refuse(self.render(condition, inputs))
                return self.render(value, inputs)
            case Call(operation, arguments):
                if id(expression) not in self._rendered:
                    names = [self.render(each, inputs) for each in arguments]
                    made = self.add(_OPERATORS[operation], *names)
                    self._rendered[id(expression)] = (expression, made)
                return self._rendered[id(expression)][1]
        raise TypeError(f"not an expression: {expression!r}")

    def column(self, value: str) -> str:
        """A value [rows], or a single number, as a matrix [rows, 1]."""
        spread = self.add("Expand", value, self._row_shape())
        return self.add("Unsqueeze", spread, self.integers([1]))

    def _row_shape(self) -> str:
        first = next(iter(self._inputs))
        return self.add("Shape", first, start=0, end=1)

    def output(self, name: str, value: str, kind: str, shape: Sequence[str | int]) -> None:
        """Declares an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        element = getattr(self._onnx.TensorProto, kind)
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, element, shape))

    def refused_output(self) -> None:
        """Declares the output `refused`, if a formula refuses some values."""
        if not self._refused:
            return
        marked = self._refused[0]
        for each in self._refused[1:]:
            marked = self.add("Or", marked, each)
        self.output(REFUSED, marked, "BOOL", ["rows"])

    def to_bytes(self, name: str, metadata: Mapping[str, str]) -> bytes:
        """The graph as a checked ONNX model; the same graph gives the same bytes."""
        helper = self._onnx.helper
        used = {each for node in self._nodes for each in node.input}
        constants = [each for each in self._initializers if each.name in used]
        inputs = list(self._inputs.values())
        graph = helper.make_graph(self._nodes, name, inputs, self._outputs, constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="matchlake"
        )
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def text_input_name(column: str) -> str:
    """Returns the input name of a categorical column; numeric inputs keep the column's name."""
    return f"{column}:text"
