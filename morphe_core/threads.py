"""One thread for NumPy's matrix products while the codec works.

OpenBLAS keeps a pool of threads that spin for a while after each product, in case another follows.
The products of the entropy coder are small, and PyTorch's own threads want the cores between them:
on two cores the spinning took a third of the codec's speed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_P = ParamSpec("_P")
_R = TypeVar("_R")


@cache
def _openblas() -> ThreadpoolController:
    """The copies of OpenBLAS in this process; looking for them takes milliseconds."""
    return ThreadpoolController().select(internal_api="openblas")


def one_blas_thread(call: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: within `call` OpenBLAS uses one thread; afterwards as many as before.

    The setting is the process's, as OpenBLAS has no other. PyTorch's threads are not touched.
    """

    @wraps(call)
    def limited(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _openblas().limit(limits=1):
            return call(*args, **kwargs)

    return limited
