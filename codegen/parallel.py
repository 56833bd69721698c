"""The same function over many jobs, in processes of this computer or on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from codegen.errors import ThumbnetError

_CONNECT_SECONDS = 10

J = TypeVar("J")
R = TypeVar("R")


def run_all(
    function: Callable[[J], R], jobs: Sequence[J], processes: int = 0, dask: str | None = None
) -> Iterator[R]:
    """Results in the order in which they come.

    Args:
        function: Of a module, so that another process finds it.
        jobs: Its arguments.
        processes: Jobs at a time; 0 for one a processor. Just one runs in this process.
        dask: Address of a Dask scheduler, such as tcp://host:8786; its workers need thumbnet.

    Raises:
        ThumbnetError: joblib or distributed is not installed, the cluster cannot be reached, or
            what ``function`` raised.
    """
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    if dask is None and processes == 1:
        yield from map(function, jobs)
        return
    try:
        from joblib import Parallel, delayed, parallel_config
    except ImportError as error:
        raise ThumbnetError(
            f"joblib is missing ({error}); install the extra: pip install 'thumbnet[sweep]'"
        ) from error
    with ExitStack() as stack:
        if dask is not None:
            stack.enter_context(_cluster(dask))
            stack.enter_context(parallel_config(backend="dask"))
        parallel = Parallel(
            n_jobs=-1 if dask else processes, batch_size=1, return_as="generator_unordered"
        )
        yield from parallel(delayed(function)(job) for job in jobs)


def _cluster(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ThumbnetError(
            f"Dask is missing ({error}); install the extra: pip install 'thumbnet[dask]'"
        ) from error
    connect: Any = Client
    try:
        return connect(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ThumbnetError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`"
        ) from error
