"""Vectors of sixteen floats, or of eight doubles, inside compiled kernels.

A `Vector` is a numba type over LLVM's vector: one AVX-512 register, two of AVX2, four of NEON. The
code is the same on all. Offsets count numbers from the start of a flat array, of any alignment.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES, DOUBLES = 16, 8
"""The numbers of a vector: floats of 32 bits, and doubles."""

_INDEX = ir.IntType(32)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiles `function` at its first call, without the GIL, and keeps the code on disk.

    Floating-point arithmetic is strict. Inlining depends on the cached code; with relaxed
    arithmetic the last bits of a result would depend on it, too.
    """
    jit = numba.njit(nogil=True, cache=True, error_model="numpy")
    return cast("_Function", jit(function))


class Vector(types.Type):  # type: ignore[misc]
    """The numba type of numbers held in registers."""

    def __init__(self, scalar: types.Float, count: int) -> None:
        super().__init__(name=f"Vector({scalar}, {count})")
        self.scalar, self.count = scalar, count
        self.number = ir.FloatType() if scalar == types.float32 else ir.DoubleType()
        self.code = ir.VectorType(self.number, count)

    @property
    def suffix(self) -> str:
        """The end of the names of LLVM's functions for this type."""
        return f"v{self.count}f{self.scalar.bitwidth}"


Lanes, Octet = Vector(types.float32, LANES), Vector(types.float64, DOUBLES)
_VECTORS = {each.scalar: each for each in (Lanes, Octet)}


def _model(manager: Any, vector: Any) -> Any:
    return models.PrimitiveModel(manager, vector, vector.code)


register_model(Vector)(_model)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    code = _VECTORS[array_type.dtype].code
    return builder.bitcast(builder.gep(data, [offset]), code.as_pointer())


def _load(_typing: Any, array: Any, _offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return _VECTORS[array.dtype](array, types.intp), generate


def _store(_typing: Any, array: Any, _offset: Any, vector: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


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
    return _splat_of(Lanes)


def _splat_double(_typing: Any, _scalar: Any) -> Any:
    return _splat_of(Octet)


def _splat_of(vector: Vector) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, vector, arguments[0])

    return vector(vector.scalar), generate


def _everywhere(builder: Any, vector: Vector, scalar: Any) -> Any:
    undefined = ir.Constant(vector.code, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INDEX, 0))
    zeros = ir.Constant(ir.VectorType(_INDEX, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _repeat(_typing: Any, array: Any, _offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        scalar = builder.load(builder.gep(data, [arguments[1]]))
        return _everywhere(builder, Lanes, scalar)

    return Lanes(array, types.intp), generate


def _fma(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(a.code, [a.code] * 3)
        name = f"llvm.fma.{a.suffix}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return a(a, b, c), generate


def _where(_typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        above = builder.fcmp_ordered(">", arguments[0], arguments[1])
        return builder.select(above, arguments[2], arguments[3])

    return x(a, b, x, y), generate


def _total(_typing: Any, lanes: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(Lanes.number, [Lanes.number, Lanes.code])
        name = f"llvm.vector.reduce.fadd.{Lanes.suffix}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        zero = ir.Constant(Lanes.number, 0.0)
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
"""`load(array, offset)`: a vector of a flat array of float32 or float64."""
store = intrinsic(_store)
"""`store(array, offset, vector)`: writes a vector into a flat array of its numbers."""
fetch = intrinsic(_fetch)
"""`fetch(array, offset)`: prefetches sixteen floats."""
splat = intrinsic(_splat)
"""`splat(scalar)`: the same float32 in every lane; a float64 is rounded."""
splat_double = intrinsic(_splat_double)
"""`splat_double(scalar)`: the same double eight times."""
repeat = intrinsic(_repeat)
"""`repeat(array, offset)`: one float of a flat float32 array in every lane."""
fma = intrinsic(_fma)
"""`fma(a, b, c)`: a * b + c, number by number, rounded once."""
where = intrinsic(_where)
"""`where(a, b, x, y)`: x where a > b, else y, number by number."""
total = intrinsic(_total)
"""`total(lanes)`: the sum of the sixteen lanes."""
reaches = intrinsic(_reaches)
"""`reaches(a, b)`: one bit per lane, from the lowest on: whether a >= b."""
lowest = intrinsic(_lowest)
"""`lowest(bits)`: the index of the lowest set bit; there must be one."""
