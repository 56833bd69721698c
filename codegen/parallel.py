"""The same function over many jobs, in processes of this computer or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed

from codegen.cluster import map_on_cluster

J = TypeVar("J")
R = TypeVar("R")

_SECONDS_A_JOB = 3600.0


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
        ThumbnetError: As ``map_on_cluster``, or what ``function`` raised.
    """
    if dask is not None:
        tasks = ((job,) for job in jobs)
        yield from map_on_cluster(dask, _call, function, tasks, _SECONDS_A_JOB)
        return
    processes = min(processes or cpu_count(), len(jobs))
    if processes == 1:
        yield from map(function, jobs)
        return
    parallel = Parallel(processes, batch_size=1, return_as="generator_unordered")
    yield from parallel(delayed(function)(job) for job in jobs)


def _call(function: Callable[[J], R], job: J) -> R:
    return function(job)
