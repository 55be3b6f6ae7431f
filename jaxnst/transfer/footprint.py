"""The memory of a run's loop as XLA reports it: exact, but the loop is compiled for that."""

import jax
import jax.numpy as jnp

from jaxnst._numerics import own_numerics
from jaxnst.losses.objective import EVERYWHERE, TERMS, make_numbers, make_objective
from jaxnst.networks.registry import LossNetwork
from jaxnst.optim.solvers import lower_over, make_method, start
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.guidance import Guidance
from jaxnst.transfer.pyramid import Size
from jaxnst.transfer.style_cache import target_shapes


@own_numerics()
def loop_footprint(
    recipe: Recipe,
    network: LossNetwork,
    size: Size,
    *,
    remat: bool,
    guidance: Guidance | None = None,
) -> int | None:
    """Compile the loop of a scale and return the bytes of its arguments, results and buffers.

    The program is the run's own: where JAX keeps compiled programs on disk, the run finds it there.

    Args:
      recipe: The method.
      network: Its loss network.
      size: Height and width of the scale.
      remat: As :func:`jaxnst.stylize`.
      guidance: Its regions; None: none.

    Returns:
      None where this device's XLA does not report it.
    """
    objective = make_objective(recipe, network, remat=remat)
    method, rates = make_method(recipe)
    where = EVERYWHERE if guidance is None else guidance.where_shapes(objective, size)
    targets = target_shapes(objective, network.params, size, where=where)
    image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)  # type: ignore[no-untyped-call]
    state = jax.eval_shape(lambda x: start(method, x, len(TERMS)), image)
    args = (network.prepare(network.params), targets, make_numbers(recipe))
    count = jnp.asarray(0)
    program = lower_over(objective, method, args, rates, state, count, count).compile()
    found = program.memory_analysis()
    if found is None:
        return None
    own = found.temp_size_in_bytes + found.generated_code_size_in_bytes
    passed = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(own + passed)
