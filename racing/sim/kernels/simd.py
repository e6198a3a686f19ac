"""Single loads and stores of several neighbours at once, where numba would take one element after the other."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORD, PAIR = ir.IntType(32), ir.IntType(64)


@intrinsic
def two_words(typing: Any, array: Any, at: Any) -> Any:
    """array[at] | array[at + 1] << 32 of a contiguous uint32 array; `at` is not checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = builder.gep(context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]])
        return builder.load(builder.bitcast(first, PAIR.as_pointer()), align=4)

    return types.uint64(array, types.uint64), generate


@intrinsic
def put_word(typing: Any, array: Any, row: Any, at: Any, word: Any) -> Any:
    """Write the 4 bytes of `word` to a row of a C-contiguous uint8 array, from its byte `at` on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        begin = builder.mul(arguments[1], cgutils.unpack_tuple(builder, view.strides)[0])
        place = builder.gep(view.data, [builder.add(begin, arguments[2])])
        builder.store(arguments[3], builder.bitcast(place, WORD.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, types.uint32), generate
