"""Work on a Dask cluster: what it needs travels with the tasks; whatever fails is one error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from codegen.errors import ThumbnetError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 20.0
_AHEAD = 2
"""Tasks in the cluster for each of its threads: one runs, the next has arrived."""

T = TypeVar("T")


def map_on_cluster(
    address: str,
    work: Callable[..., T],
    shared: object,
    tasks: Iterable[tuple[Any, ...]],
    limit: float,
) -> Iterator[T]:
    """Results of ``work(shared, *task)``, in the order in which they come.

    Args:
        address: Of the scheduler, such as ``tcp://10.0.0.5:8786``.
        work: A function of an installed module.
        shared: Sent to each worker once.
        tasks: Read only as fast as the workers take them.
        limit: Seconds in which some task has to end.

    Raises:
        ThumbnetError: There is no such cluster, a worker fails, or none says anything for longer
            than ``limit``.
    """
    left = iter(tasks)
    with _client(address) as client:
        everywhere = client.scatter(shared, broadcast=True, hash=False)
        running: set[Any] = set()
        try:
            while True:
                room = max(1, _AHEAD * sum(client.nthreads().values())) - len(running)
                for _, task in zip(range(room), left, strict=False):
                    running.add(client.submit(work, everywhere, *task, pure=False))
                if not running:
                    return
                done, running = _some_done(client, running, limit)
                for future in done:
                    yield future.result()
        finally:
            client.cancel([*running, everywhere])


def _some_done(client: Client, running: set[Any], limit: float) -> tuple[set[Any], set[Any]]:
    """Tasks that are done, one at least, and the others."""
    from distributed import wait

    with client.as_current():
        done, others = wait(running, timeout=limit, return_when="FIRST_COMPLETED")
    return done, others


@contextmanager
def _client(address: str) -> Iterator[Client]:
    """A connection; whatever goes wrong with the cluster becomes a ThumbnetError."""
    try:
        from distributed import Client
    except ImportError:
        raise ThumbnetError(
            "Dask is not installed; install thumbnet[dask], or leave --dask out."
        ) from None
    for name in ("distributed", "distributed.client"):
        # What they would print is in the exception too.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ThumbnetError(f"No Dask scheduler answers at {address} ({_why(error)}).") from error
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        yield client
    except (ThumbnetError, GeneratorExit, KeyboardInterrupt):
        raise
    except TimeoutError as error:
        raise ThumbnetError(
            f"The Dask cluster at {address} has no workers, or none of them answers any more."
        ) from error
    # distributed's own cancellation is no Exception.
    except (Exception, CancelledError) as error:
        raise ThumbnetError(
            f"The Dask cluster at {address} failed ({_why(error)}). Its workers need this version "
            "of thumbnet in their environment."
        ) from error
    finally:
        client.close(timeout=CONNECT_SECONDS)


def _why(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
