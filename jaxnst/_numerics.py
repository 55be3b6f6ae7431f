"""The JAX settings that jaxnst computes under.

What jaxnst computes is defined in float32 and int32; its loops meet losses that are not finite and
take the step back; its noise follows from a seed. All of these depend on settings of JAX that other
code of the same process, or the environment, may have changed.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax


@contextmanager
def default_numerics() -> Iterator[None]:
    """Compute under JAX's default numerics within, in this thread; afterwards, as before.

    Every function that a caller enters computations by is decorated with it, and so is what runs in
    a thread of jaxnst's own, since these settings belong to a thread. Callbacks run under
    them as well.
    """
    with ExitStack() as settings:
        for setting in (
            jax.enable_x64(False),
            jax.numpy_dtype_promotion("standard"),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.transfer_guard("allow"),
            jax.default_prng_impl("threefry2x32"),
            jax.threefry_partitionable(True),
        ):
            settings.enter_context(setting)
        yield
