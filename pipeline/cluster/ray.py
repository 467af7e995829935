"""A stage's work on a Ray cluster: one task per video, repeated elsewhere when its worker dies.

    ssrl-pipeline extract --videos videos/ --cluster ray

Ray finds the place for each task, on whatever nodes there are at the time. A task whose worker,
node or memory is lost is given out again, a few times at most, so that a video that kills its
worker ends as a failure of its own. What workers report of their progress is gathered by one
small actor beside the driver.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from ssrl_pipeline.cluster.progress import ClusterProgress
from ssrl_pipeline.cluster.workers import TRIES, Post, Work
from ssrl_pipeline.console import FAILED, Outcome, Progress
from ssrl_pipeline.errors import BusyError, ConfigError, PipelineError, first_line

LOOK = 0.5  # seconds between looks at the progress
WAIT = 2.0  # seconds after which a video is tried again that another process is at
AHEAD = 4  # tasks handed to Ray for each that can run at once: it may find more nodes for them
REACHED = 10.0  # seconds for the cluster's head to answer
ANSWERED = 60.0  # seconds for each node to say whether it has what is needed
TELL = 1.0  # seconds between a worker's reports of its snippets

_LOG = logging.getLogger(__name__)


class ClusterOptions(NamedTuple):
    """Where the cluster is, and what each task takes of it."""

    address: str | None = None  # None: RAY_ADDRESS, else the cluster of this machine, else one made for now
    cpus: int = 1  # cores of a task, which are its threads, too


class Cluster:
    """A connection to a Ray cluster; see :func:`connected`.

    Args:
        ray: the module.
        options: cores of a task.
        device: `auto` (GPUs where the cluster has any), `cpu` or `cuda`; each task takes one GPU.

    Raises:
        PipelineError: no node can run such a task.
    """

    elsewhere = True

    def __init__(self, ray: Any, options: ClusterOptions, device: str):
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(
                f"unfit device {device!r}: a cluster gives out its GPUs itself; use auto, cpu or cuda"
            )
        self._ray, self.cpus = ray, options.cpus
        gpus = ray.cluster_resources().get("GPU", 0)
        self.device = device if device != "auto" else "cuda" if gpus else "cpu"
        self._needs = {"CPU": options.cpus, **({"GPU": 1} if self.device == "cuda" else {})}
        if not self.slots():
            most = [{name: node["Resources"].get(name, 0) for name in self._needs} for node in self._nodes()]
            raise PipelineError(f"no node of the cluster can run a task of {self._needs}: there are {most}")
        self._on_node = partial(ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy, soft=False)
        beside = self._on_node(ray.get_runtime_context().get_node_id())
        options_of_tally = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": beside}
        self._tally = ray.remote(**options_of_tally)(_Tally).remote()
        # Ray would end a process after each task on a GPU, and with it the extractor that is kept there.
        self._run = ray.remote(
            num_cpus=options.cpus,
            num_gpus=self._needs.get("GPU", 0),
            max_calls=0,
            max_retries=0,  # here, where they are counted, for each kind of death
            scheduling_strategy="SPREAD",
        )(_run)

    def __str__(self) -> str:
        return f"{self.device}, up to {self.slots()} tasks of the cluster at once"

    def slots(self) -> int:
        """How many tasks the nodes that are there can run at once."""
        return sum(map(self._slots_of, self._nodes()))

    def _slots_of(self, node: Mapping[str, Any]) -> int:
        return min(int(node["Resources"].get(name, 0) // count) for name, count in self._needs.items())

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def require(self, check: Callable[[str], None]) -> None:
        """Calls it on each node that can run a task of the CPU; one that is silent for ANSWERED is trusted.

        What GPUs can depends on no package that a node may lack, and one that is taken could not answer.

        Raises:
            PipelineError: a node raised one, whose message names it.
        """
        if self.device != "cpu":
            return
        nodes = [self._on_node(node["NodeID"]) for node in self._nodes() if self._slots_of(node)]
        there = self._ray.remote(num_cpus=0, max_retries=0)(_check)
        asked = [there.options(scheduling_strategy=node).remote(check, self.device) for node in nodes]
        for ref in self._ray.wait(asked, num_returns=len(asked), timeout=ANSWERED)[0]:
            try:
                self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:
                raise _cause(error) from None
            except self._ray.exceptions.RayError as error:  # the node is lost: others work
                _LOG.warning("a node does not answer (%s: %s)", type(error).__name__, first_line(error))

    def map(self, tasks: Mapping[str, Any], work: Work, progress: Progress) -> Iterator[Outcome]:
        """See :class:`ssrl_pipeline.cluster.workers.Workers`.

        Raises:
            PipelineError: a task raised one; BusyError alone makes it be tried again, later.
        """
        shown = ClusterProgress(progress)
        waiting, resting = deque(tasks), deque[tuple[float, str]]()
        flying: dict[Any, str] = {}
        tries: Counter[str] = Counter()

        def conclude(outcome: Outcome) -> Outcome:
            shown.finish(outcome)
            return outcome

        try:
            while waiting or resting or flying:
                while resting and resting[0][0] <= time.monotonic():
                    waiting.append(resting.popleft()[1])
                while waiting and len(flying) < AHEAD * max(1, self.slots()):
                    video = waiting.popleft()
                    place = self.device, self.cpus
                    flying[self._run.remote(self._tally, work, (video, tasks[video]), *place)] = video
                done = self._wait(list(flying))
                for video, count in self._told().items():
                    shown.count(video, count)
                for ref in done:
                    video = flying.pop(ref)
                    try:
                        yield conclude(self._ray.get(ref))
                    except self._ray.exceptions.RayTaskError as error:
                        if not isinstance(error.cause, BusyError):
                            raise _cause(error) from None
                        resting.append((time.monotonic() + WAIT, video))
                    except self._ray.exceptions.RayError as error:
                        tries[video] += 1
                        reason = f"{video}: its worker was lost ({type(error).__name__}: {first_line(error)})"
                        if tries[video] == TRIES:
                            yield conclude(Outcome(video, FAILED, reason=f"{reason}, {TRIES} times"))
                        else:
                            _LOG.warning("%s; it is tried again", reason)
                            waiting.appendleft(video)
        finally:
            for ref in flying:
                self._ray.cancel(ref, force=True)

    def _wait(self, refs: list[Any]) -> list[Any]:
        if not refs:
            time.sleep(LOOK)
            return []
        return list(self._ray.wait(refs, num_returns=1, timeout=LOOK)[0])

    def _told(self) -> dict[str, int]:
        try:
            return dict(self._ray.get(self._tally.take.remote(), timeout=10))
        except self._ray.exceptions.RayError:  # of a tally that is restarted, or late: the next tells more
            return {}


@contextmanager
def connected(options: ClusterOptions, device: str) -> Iterator[Cluster]:
    """A Ray cluster, until the end of the block.

    Raises:
        PipelineError: Ray is not installed, the cluster cannot be reached, or no node can run a task.
    """
    try:
        import ray.util.scheduling_strategies  # comes with an extra
    except ImportError as error:
        raise PipelineError(
            "--cluster ray needs Ray; install it with pip install 'ssrl-pipeline[ray]'"
        ) from error
    ours = not ray.is_initialized()
    if ours:
        _start(ray, options.address)
    try:
        yield Cluster(ray, options, device)
    finally:
        if ours:
            ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is made for now
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    _require_listener(where)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise PipelineError(f"no Ray cluster can be reached at {where!r}: {first_line(error)}") from error
    if main:
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which ends with another exit code


def _require_listener(address: str) -> None:
    """Raises PipelineError where nobody answers at HOST:PORT: Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:  # auto, or local
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACHED).close()
    except (OSError, ValueError, OverflowError) as error:
        raise PipelineError(f"no Ray cluster can be reached at {address!r}: {first_line(error)}") from error


class _Single(Post):
    """On a worker: one task, whose snippets are reported, at most once a TELL."""

    def __init__(self, tally: Any, task: tuple[str, Any], device: str, threads: int):
        super().__init__(device, threads, alone=True, elsewhere=True)
        self._tally, self._task = tally, task
        self._count, self._told = 0, -TELL
        self.outcome: Outcome | None = None  # None: somebody else is at the video

    def tasks(self) -> Iterator[tuple[str, Any] | None]:
        yield self._task

    def tell(self) -> None:
        if time.monotonic() - self._told >= TELL:
            self._tally.put.remote(self._task[0], self._count)
            self._told = time.monotonic()

    def snippet(self) -> None:
        self._count += 1
        self.tell()

    def finish(self, outcome: Outcome) -> None:
        self.outcome = outcome


@contextmanager
def _named() -> Iterator[None]:
    """On a worker: a PipelineError names its node."""
    try:
        yield
    except PipelineError as error:
        raise type(error)(f"on the node {socket.gethostname()}: {error}") from error


def _check(check: Callable[[str], None], device: str) -> None:
    """On a worker."""
    with _named():
        check(device)


def _run(tally: Any, work: Work, task: tuple[str, Any], device: str, threads: int) -> Outcome:
    """On a worker: does a task."""
    post = _Single(tally, task, device, threads)
    post.tell()
    with _named():
        work(post)
    if post.outcome is None:
        raise BusyError(f"another process is at {task[0]}")
    return post.outcome


class _Tally:
    """How many snippets of which videos are done, since it was last asked."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def put(self, video: str, count: int) -> None:
        self._counts[video] = count

    def take(self) -> dict[str, int]:
        counts, self._counts = self._counts, {}
        return counts


def _cause(error: Any) -> Exception:
    """What a task raised; a bug keeps the traceback of the worker."""
    if isinstance(error.cause, PipelineError):
        return error.cause
    if isinstance(error.cause, ImportError) or "failed to import" in str(error):
        return PipelineError(
            "a node of the cluster cannot import what this one can; install the same ssrl-pipeline, with the "
            f"same extras, on all of them ({_last_line(error)})"
        )
    return error


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
