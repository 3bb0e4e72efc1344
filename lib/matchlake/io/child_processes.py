"""The environment of processes that this one starts."""

import os

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread_each() -> dict[str, str]:
    """This process's environment, with libraries of linear algebra on one thread."""
    return {**os.environ, **dict.fromkeys(_THREADS, "1")}
