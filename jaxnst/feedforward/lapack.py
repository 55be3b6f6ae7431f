"""LAPACK on one thread.

On a CPU XLA's ``eigh`` is SciPy's LAPACK. Matrices as small as covariances of feature maps gain
nothing from its threads, and for a while after each call these go on spinning, on the cores that
the next convolutions want: of a pass on two cores a quarter (figures in docs/performance.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

from jaxnst.optim.sharding import default_device

_one_by_one = Lock()


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Keep LAPACK on one thread within, and let it be as it was afterwards.

    The number is the process's, so that on CPUs only one thread may be within at a time; another
    one waits. On accelerators, which have an ``eigh`` of their own, nothing is done. What runs
    within is to be finished within: JAX returns before it is.
    """
    if default_device().platform != "cpu":
        yield
        return
    with _one_by_one, threadpool_limits(1, user_api="blas"):
        yield
