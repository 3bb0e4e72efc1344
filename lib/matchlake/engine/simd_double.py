"""Eight doubles at a time inside compiled kernels, as explicit vector code.

`Octet` is a numba type over LLVM's vector, as `simd.Lanes` is for sixteen floats. Offsets count
doubles from the start of a flat array, of any alignment.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

DOUBLES = 8
"""The doubles of one vector."""

_VECTOR = ir.VectorType(ir.DoubleType(), DOUBLES)


class _Octet(types.Type):  # type: ignore[misc]
    """The numba type of eight doubles held in registers."""

    def __init__(self) -> None:
        super().__init__(name="Octet")


Octet = _Octet()


def _model(manager: Any, numba_type: Any) -> Any:
    return models.PrimitiveModel(manager, numba_type, _VECTOR)


register_model(_Octet)(_model)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


def _load8(_typing: Any, array: Any, _offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(pointer, align=8)

    return Octet(array, types.intp), generate


def _store8(_typing: Any, array: Any, _offset: Any, _octet: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, Octet), generate


def _splat8(_typing: Any, _scalar: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        place = ir.IntType(32)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(place, 0))
        zeros = ir.Constant(ir.VectorType(place, DOUBLES), [0] * DOUBLES)
        return builder.shuffle_vector(first, undefined, zeros)

    return Octet(types.float64), generate


def _fma8(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fma.v{DOUBLES}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return Octet(a, b, c), generate


def _where8(_typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        above = builder.fcmp_ordered(">", arguments[0], arguments[1])
        return builder.select(above, arguments[2], arguments[3])

    return Octet(a, b, x, y), generate


load8 = intrinsic(_load8)
"""`load8(array, offset)`: eight doubles of a flat float64 array."""
store8 = intrinsic(_store8)
"""`store8(array, offset, octet)`: writes eight doubles into a flat float64 array."""
splat8 = intrinsic(_splat8)
"""`splat8(scalar)`: the same double eight times."""
fma8 = intrinsic(_fma8)
"""`fma8(a, b, c)`: a * b + c, double by double, rounded once."""
where8 = intrinsic(_where8)
"""`where8(a, b, x, y)`: x where a > b, else y, double by double."""
