"""Eight bytes of an array at once, wherever they begin: what a loop over a stream of bits needs of the machine."""

from __future__ import annotations

from typing import Any

from forge_steps.metrics._kernel import intrinsic


def _address(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    from numba import types

    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), context.get_value_type(types.uint64).as_pointer())


def _load(typing_context: Any, array: Any, place: Any) -> Any:
    """Generate: the uint64 at bytes place .. place + 7."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        return builder.load(address, align=1)

    return types.uint64(array, types.int64), generate


def _store(typing_context: Any, array: Any, place: Any, word: Any) -> Any:
    """Generate: write a uint64 to bytes place .. place + 7."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], address, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), generate


load_word: Any = intrinsic(_load)
"""load_word(bytes, place): no check of bounds; the lowest byte is the first one (little-endian machines)."""

store_word: Any = intrinsic(_store)
"""store_word(bytes, place, word): no check of bounds."""
