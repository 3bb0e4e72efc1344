"""Sixteen floats at a time inside compiled kernels, as explicit vector code.

`Lanes` is a numba type over LLVM's vector: one AVX-512 register, two of AVX2, four of NEON. The
code is the same on all. Offsets count floats from the start of a flat array, of any alignment.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16

_FLOAT, _INDEX = ir.FloatType(), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiles `function` at its first call, without the GIL, and keeps the code on disk.

    Floating-point arithmetic is strict. Inlining depends on the cached code; with relaxed
    arithmetic the last bits of a result would depend on it, too.
    """
    jit = numba.njit(nogil=True, cache=True, error_model="numpy")
    return cast("_Function", jit(function))


class _Lanes(types.Type):  # type: ignore[misc]
    """The numba type of sixteen floats held in registers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


Lanes = _Lanes()


def _model(manager: Any, numba_type: Any) -> Any:
    return models.PrimitiveModel(manager, numba_type, _VECTOR)


register_model(_Lanes)(_model)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


def _load(_typing: Any, array: Any, _offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(pointer, align=4)

    return Lanes(array, types.intp), generate


def _store(_typing: Any, array: Any, _offset: Any, _lanes: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, Lanes), generate


def _fetch(_typing: Any, array: Any, _offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _INDEX, _INDEX, _INDEX])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(_INDEX, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _splat(_typing: Any, _scalar: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0])

    return Lanes(types.float32), generate


def _everywhere(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INDEX, 0))
    zeros = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def _repeat(_typing: Any, array: Any, _offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        scalar = builder.load(builder.gep(data, [arguments[1]]))
        return _everywhere(builder, scalar)

    return Lanes(array, types.intp), generate


def _fma(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fma.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return Lanes(a, b, c), generate


def _total(_typing: Any, lanes: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        zero = ir.Constant(_FLOAT, 0.0)
        return builder.call(function, [zero, arguments[0]], fastmath=("fast",))

    return types.float32(lanes), generate


def _reaches(_typing: Any, a: Any, b: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        reaches = builder.fcmp_ordered(">=", *arguments)
        return builder.zext(builder.bitcast(reaches, ir.IntType(LANES)), _INDEX)

    return types.uint32(a, b), generate


def _lowest(_typing: Any, _bits: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_INDEX, [_INDEX, ir.IntType(1)])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i32")
        bits = builder.call(function, [arguments[0], ir.Constant(ir.IntType(1), 1)])
        return builder.zext(bits, ir.IntType(64))

    return types.int64(types.uint32), generate


load = intrinsic(_load)
"""`load(array, offset)`: sixteen floats of a flat float32 array."""
store = intrinsic(_store)
"""`store(array, offset, lanes)`: writes sixteen floats into a flat float32 array."""
fetch = intrinsic(_fetch)
"""`fetch(array, offset)`: prefetches sixteen floats."""
splat = intrinsic(_splat)
"""`splat(scalar)`: the same float32 in every lane."""
repeat = intrinsic(_repeat)
"""`repeat(array, offset)`: one float of a flat float32 array in every lane."""
fma = intrinsic(_fma)
"""`fma(a, b, c)`: a * b + c, lane by lane."""
total = intrinsic(_total)
"""`total(lanes)`: the sum of the sixteen lanes."""
reaches = intrinsic(_reaches)
"""`reaches(a, b)`: one bit per lane, from the lowest on: whether a >= b."""
lowest = intrinsic(_lowest)
"""`lowest(bits)`: the index of the lowest set bit; there must be one."""
