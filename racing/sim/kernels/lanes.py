"""One formula for sixteen cars at a time: Lanes are the numbers of sixteen cars, side by side in a processor's vector.

A kernel that chooses by `where` instead of branching works on numbers as well as on Lanes, and each lane gets the bits
that the number would get: the same IEEE operations in the same order. Compilers do as much by themselves for simple
loops, but not for equations of motion, and nobody would notice when a change to the equations put an end to it.

What Lanes know: + - * / and comparisons, - abs min max, & | ~ of truth values, math.sqrt, and lane by lane, because the
C library's bits are wanted, math.sin cos tan atan. A number beside Lanes counts for every lane. Where a processor's
vectors are shorter, several of them are taken.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.cpython import mathimpl
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

LANES = 16
WORD = ir.IntType(32)


class Lanes(types.Type):
    """LANES values of the numba type `element`: a float type or boolean."""

    def __init__(self, element: Any) -> None:
        super().__init__(name=f"Lanes({element})")
        self.element = element

    def can_convert_from(self, typing: Any, other: Any) -> Any:
        """One value becomes LANES equal ones."""
        return Conversion.safe if other == self.element else None


TRUTHS = Lanes(types.boolean)


@register_model(Lanes)
class _Vector(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = ir.IntType(1) if lanes == TRUTHS else manager.lookup(lanes.element).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, LANES))


@lower_cast(types.Float, Lanes)
@lower_cast(types.Boolean, Lanes)
def _spread(context: Any, builder: Any, from_type: Any, to_type: Any, value: Any) -> Any:
    nothing = ir.Constant(context.get_value_type(to_type), ir.Undefined)
    first = builder.insert_element(nothing, value, WORD(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(WORD, LANES), None))


def _define(function: Any, count: int, generate: Callable[..., Any], result: Any = None) -> None:
    """Let kernels call `function` with `count` arguments, of which one at least are Lanes.

    generate(builder, *vectors) gives its result; result: the type of that, where it is not the arguments'.
    """
    _type(function, count, result)

    @lower_builtin(function, *[Lanes] * count)
    def lower(context: Any, builder: Any, of: Any, vectors: Any) -> Any:
        return generate(builder, *vectors)


def _define_lane_by_lane(function: Any) -> None:
    """Let kernels call `function` of one argument with Lanes, as if with one number after the other."""
    _type(function, 1)

    @lower_builtin(function, Lanes)
    def lower(context: Any, builder: Any, of: Any, vectors: Any) -> Any:
        element = of.return_type.element
        of_one = context.get_function(function, signature(element, element))
        result = vectors[0]
        for k in range(LANES):
            value = of_one(builder, [builder.extract_element(vectors[0], WORD(k))])
            result = builder.insert_element(result, value, WORD(k))
        return result


def _type(function: Any, count: int, result: Any = None) -> None:
    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, given: Any, keywords: Any) -> Any:
            lanes = next((kind for kind in given if isinstance(kind, Lanes)), None)
            if lanes is None or len(given) != count or any(kind not in (lanes, lanes.element) for kind in given):
                return None
            return signature(result or lanes, *[lanes] * count)


def _llvm(name: str) -> Callable[..., Any]:
    """LLVM's function of one argument that exists for every float type and for vectors of it."""

    def generate(builder: Any, x: Any) -> Any:
        lanes = isinstance(x.type, ir.VectorType)
        kind = f"v{LANES}{x.type.element.intrinsic_name}" if lanes else x.type.intrinsic_name
        function = ir.FunctionType(x.type, [x.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{kind}"), [x])

    return generate


def _comparison(sign: str) -> Callable[..., Any]:
    return lambda builder, a, b: builder.fcmp_ordered(sign, a, b)


def _choice(sign: str) -> Callable[..., Any]:
    """Python's min or max: the second of two where it is less or greater, else the first."""
    return lambda builder, a, b: builder.select(builder.fcmp_ordered(sign, b, a), b, a)


_define(operator.add, 2, ir.IRBuilder.fadd)
_define(operator.sub, 2, ir.IRBuilder.fsub)
_define(operator.mul, 2, ir.IRBuilder.fmul)
_define(operator.truediv, 2, ir.IRBuilder.fdiv)
_define(operator.neg, 1, mathimpl.negate_real)
_define(abs, 1, _llvm("fabs"))
_define(math.sqrt, 1, _llvm("sqrt"))
_define(min, 2, _choice("<"))
_define(max, 2, _choice(">"))
_define(operator.lt, 2, _comparison("<"), TRUTHS)
_define(operator.le, 2, _comparison("<="), TRUTHS)
_define(operator.gt, 2, _comparison(">"), TRUTHS)
_define(operator.ge, 2, _comparison(">="), TRUTHS)
_define(operator.eq, 2, _comparison("=="), TRUTHS)
_define(operator.and_, 2, ir.IRBuilder.and_)
_define(operator.or_, 2, ir.IRBuilder.or_)
_define(operator.invert, 1, ir.IRBuilder.not_)
_define_lane_by_lane(math.sin)
_define_lane_by_lane(math.cos)
_define_lane_by_lane(math.tan)
_define_lane_by_lane(math.atan)


@intrinsic
def where(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`, both of which have been computed; of numbers and of Lanes."""
    lanes = next((kind for kind in (a, b) if isinstance(kind, Lanes)), None)
    result = lanes or (Lanes(a) if condition == TRUTHS else a)

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return result(condition, result, result), generate


@intrinsic
def anywhere(typing: Any, condition: Any) -> Any:
    """Whether the condition holds in any lane; of one truth value: itself."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(LANES)) if condition == TRUTHS else arguments[0]
        return cgutils.is_not_null(builder, bits)

    return types.boolean(condition), generate


@intrinsic
def bits_of(typing: Any, condition: Any) -> Any:
    """Truth values of LANES lanes as the lowest bits of a whole number, lane 0 in bit 0."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        return builder.zext(builder.bitcast(arguments[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(TRUTHS), generate


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Number of the lowest bit that is set, of a whole number other than 0."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


@intrinsic
def floor(typing: Any, x: Any) -> Any:
    """Greatest whole number <= x, of the type of x: a number or Lanes."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        return _llvm("floor")(builder, *arguments)

    return x(x), generate


@intrinsic
def lanes_of(typing: Any, row: Any) -> Any:
    """Lanes of the first LANES numbers of a contiguous array; nothing is checked."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        return builder.load(_beginning(context, builder, row, arguments[0]), align=row.dtype.bitwidth // 8)

    return Lanes(row.dtype)(row), generate


@intrinsic
def put_lanes(typing: Any, row: Any, values: Any) -> Any:
    """Write Lanes to the first LANES numbers of a contiguous array; nothing is checked."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _beginning(context, builder, row, arguments[0]), align=row.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(row, values), generate


@intrinsic
def corners(typing: Any, values: Any, start: Any, width: Any, i: Any, j: Any) -> Any:
    """The values at (i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1) of a grid: of whole numbers i, j or Lanes of them.

    values: contiguous array; the grid's first cell is values[start], its rows are `width` cells long: both int32, or
    Lanes of int32. i, j: of the type of `values`, not checked.
    """

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, builder, arguments[0]).data
        number = context.get_value_type(values.dtype)
        first, width, i, j = arguments[1:]
        low = builder.add(
            builder.add(first, builder.mul(builder.fptosi(i, width.type), width)), builder.fptosi(j, width.type)
        )
        rows = (_pair(builder, data, number, low), _pair(builder, data, number, builder.add(low, width)))
        return context.make_tuple(builder, of.return_type, [*rows[0], *rows[1]])

    return types.UniTuple(i, 4)(values, start, width, i, j), generate


def _pair(builder: Any, data: Any, number: Any, at: Any) -> list[Any]:
    """data[at] and data[at + 1], which are read at once, for an index or a vector of indices; number: their type."""
    lanes = range(LANES) if isinstance(at.type, ir.VectorType) else None
    indices = [at] if lanes is None else [builder.extract_element(at, WORD(k)) for k in lanes]
    pair = ir.VectorType(number, 2).as_pointer()
    parts = [builder.load(builder.bitcast(builder.gep(data, [index]), pair), align=4) for index in indices]
    if lanes is None:
        return [builder.extract_element(parts[0], WORD(side)) for side in (0, 1)]
    while len(parts) > 1:
        parts = [
            _shuffled(builder, a, b, range(2 * a.type.count)) for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return [_shuffled(builder, parts[0], parts[0], range(side, 2 * LANES, 2)) for side in (0, 1)]


def _shuffled(builder: Any, a: Any, b: Any, order: range) -> Any:
    """The numbers of two vectors of equal length at the places `order`, counted through both."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(WORD, len(order)), list(order)))


def _beginning(context: Any, builder: Any, kind: Any, row: Any) -> Any:
    """Pointer to Lanes at the beginning of an array."""
    data = context.make_array(kind)(context, builder, row).data
    return builder.bitcast(data, context.get_value_type(Lanes(kind.dtype)).as_pointer())
