# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Run jobs on workers that may die, in processes of this machine or on a Dask cluster.

``concurrent.futures`` gives up all of its processes when one dies, and does not say which job
was at fault. Here each process has a pipe of its own, so that a death costs one job one attempt.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
import multiprocessing
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
import signal
import traceback
from typing import Any, Generic, TypeVar

ATTEMPTS = 3
"""How often a job is begun, if its worker dies each time."""

CONNECT_SECONDS = 10

Job = TypeVar('Job')
Outcome = TypeVar('Outcome')


class WorkersError(RuntimeError):
    """Workers that cannot be had, or do not fit; one line with what would mend it."""


@dataclass(frozen=True)
class Lost:
    """A job that no worker survived, and how they died, in a few words."""

    reason: str


def on_processes(
        function: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int, *,
        attempts: int = ATTEMPTS) -> Generator[tuple[int, Outcome | Lost], None, None]:
    """
    Run a function on each job in new processes of this machine.

    They are started anew and not forked, since engines have threads. A script that calls this
    therefore needs ``if __name__ == '__main__':``.

    :param function: of a module, so that a process can import it.
    :param jobs: that can be pickled; so can what the function returns.
    :param workers: how many processes.
    :param attempts: how often a job is begun, if its process dies each time.
    :returns: the place of each job with its outcome, in the order in which they are done.
    :raises Exception: what the function raised.
    """
    context = multiprocessing.get_context('spawn')
    waiting = deque(range(len(jobs)))
    deaths: Counter[int] = Counter()
    busy: dict[Connection, _Process[Job]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                process: _Process[Job] = _Process(context, function)
                busy[process.connection] = process
                place = waiting.popleft()
                process.begin(place, jobs[place])
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                process = busy[connection]
                place = process.place
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    del busy[connection]
                    death = process.bury()
                    deaths[place] += 1
                    if deaths[place] < attempts:
                        waiting.append(place)
                    else:
                        yield place, Lost(f'its worker died {attempts} times, last by {death}')
                    continue
                if isinstance(outcome, _Raised):
                    raise outcome.error
                if waiting:
                    process.begin(following := waiting.popleft(), jobs[following])
                else:
                    del busy[connection]
                    process.dismiss()
                yield place, outcome
    finally:
        for process in busy.values():
            process.kill()


def on_dask(
        function: Callable[[Job], Outcome], jobs: Sequence[Job], address: str, *,
        attempts: int = ATTEMPTS) -> Generator[tuple[int, Outcome | Lost], None, None]:
    """
    Run a function on each job on the workers of a Dask cluster.

    The scheduler itself begins a job again whose worker died, on another, as often as its setting
    ``distributed.scheduler.allowed-failures`` says. It counts the death against every job that
    the worker had, so that one which was given up is run once more when nothing else is.

    :param function: of a module that the workers can import.
    :param jobs: that can be pickled; so can what the function returns.
    :param address: of the scheduler, such as ``tcp://192.168.0.2:8786``.
    :param attempts: how often a job is begun, if the function raises each time.
    :returns: the place of each job with its outcome, in the order in which they are done.
    :raises WorkersError: ``distributed`` is not installed, or the scheduler is not reached.
    :raises Exception: what the function raised.
    """
    try:
        from distributed import as_completed, Client, KilledWorker
    except ModuleNotFoundError as error:
        raise WorkersError(
            f'Dask at {address}: the Python package {error.name!r} is not installed (pip install '
            "'prune_perception[dask]')") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkersError(
            f'Dask at {address}: the scheduler cannot be reached ({error})') from error
    suspects: list[int] = []
    with client:
        try:
            futures = {
                client.submit(function, job, pure=False, retries=attempts - 1): place
                for place, job in enumerate(jobs)}
            for future in as_completed(list(futures), loop=client.loop):
                place = futures.pop(future)
                try:
                    yield place, future.result()
                except KilledWorker:
                    suspects.append(place)
                # The outcome would stay in the worker's memory as long as somebody holds it.
                future.release()
            for place in sorted(suspects):
                try:
                    yield place, client.submit(function, jobs[place], pure=False).result()
                except KilledWorker as error:
                    yield place, Lost(
                        f'its worker died {error.allowed_failures + 1} times, with no other job '
                        'on the cluster')
        except CancelledError as error:
            raise WorkersError(
                f'Dask at {address}: the scheduler dropped a job or was lost ({error})'
                ) from error


@dataclass(frozen=True)
class _Raised:
    """What the function raised in a process."""

    error: Exception


class _Process(Generic[Job]):
    """A process that takes one job after the other through a pipe."""

    def __init__(self, context: SpawnContext, function: Callable[[Job], Any]) -> None:
        self.connection, other_end = context.Pipe()
        self.place = -1
        self._process = context.Process(target=_work, args=(other_end, function), daemon=True)
        self._process.start()
        other_end.close()  # or the end of the process would not be the end of the pipe

    def begin(self, place: int, job: Job) -> None:
        self.place = place
        with suppress(BrokenPipeError):  # it has died already, as reading will show
            self.connection.send(job)

    def dismiss(self) -> None:
        self.connection.close()
        self._process.join()

    def kill(self) -> None:
        self._process.kill()
        self.dismiss()

    def bury(self) -> str:
        """Return what the process died of."""
        self.dismiss()
        status = self._process.exitcode or 0
        if status >= 0:
            return f'exit status {status}'
        name = signal.Signals(-status).name
        return f'{name} (out of memory?)' if name == 'SIGKILL' else name


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    # A terminal sends Ctrl-C to all; the process that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        while True:
            job = connection.recv()
            try:
                outcome = function(job)
            except Exception as error:
                error.add_note(f'In a worker process:\n{traceback.format_exc()}')
                outcome = _Raised(error)
            connection.send(outcome)
