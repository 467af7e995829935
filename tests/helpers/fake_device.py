"""The tensors of a device that plays CUDA, and what it makes of an operator; see :mod:`helpers.fake_cuda`."""

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from helpers.fake_streams import Memory, Stream, Streams
from helpers.python_backward import run_backward
from torch import Tensor, nn

aten = torch.ops.aten
CPU = torch.device("cpu")
PLENTY = 1 << 40  # bytes
RUBBISH = 0xFF  # of every byte: not a number, where it is read as float
# Their indices may lie on the CPU, and where they are masks, the host waits to know how many are set.
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
MASKS = (torch.bool, torch.uint8)
NOT_THE_CALLERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Wait(NamedTuple):
    what: str
    where: str  # file:line


class CudaTensor(Tensor):
    """What stands for a CUDA tensor; `on_cpu` is the CPU's that holds its values."""

    on_cpu: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> "CudaTensor":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "layout": inner.layout}
        with torch.inference_mode(inner.is_inference()):  # a view is what its base is
            result = Tensor._make_wrapper_subclass(
                cls, inner.size(), dtype=inner.dtype, device=device, **layout
            )
        result.on_cpu = inner
        return result

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return FakeCuda.current().run(func, args, kwargs or {})

    @property
    def memory(self) -> Memory:
        return self.on_cpu.untyped_storage().memory

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: "CudaTensor") -> None:
        Tensor.data.__set__(self, value)
        self.on_cpu = value.on_cpu

    def backward(self, gradient: Tensor | None = None) -> None:
        run_backward(self, torch.ones_like(self) if gradient is None else gradient)

    def record_stream(self, stream: Stream) -> None:
        self.memory.record(stream)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        return self.numpy()

    def __repr__(self, **options: Any) -> str:
        return f"CudaTensor({list(self.shape)}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = self.detach().clone(memory_format=torch.preserve_format)
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)


class FakeCuda:
    """The devices `cuda:0` to `cuda:N-1`; :func:`fake_cuda` makes them.

    Attributes:
        waits: each time that the host waited for what a device computed.
        uploads: each copy to a device that the host stood by, as it does without
            `non_blocking`.
        faults: what would have gone wrong unseen, found too late to raise it.
        touched: devices whose random state was asked for, which makes a context there.
        memory: bytes that a device has; may be changed.
        allocated, peak: bytes of each device.
    """

    _current: "FakeCuda | None" = None

    def __init__(self, devices: int):
        self.memory = PLENTY
        self.allocated, self.peak = [0] * devices, [0] * devices
        self.waits: list[Wait] = []
        self.uploads: list[Wait] = []
        self.faults: list[str] = []
        self.touched: set[int] = set()
        self.streams = Streams(self, devices)
        self._pinned: dict[int, int] = {}  # where pinned memory begins -> where it ends

    @classmethod
    def current(cls) -> "FakeCuda":
        assert cls._current, "a tensor outlived the device that it was on"
        return cls._current

    def forget(self) -> None:
        """Counts from zero."""
        self.waits.clear()
        self.uploads.clear()
        self.peak = list(self.allocated)

    def wait(self, what: str) -> None:
        self.waits.append(Wait(what, _caller()))

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operator, some of whose arguments are on a device."""
        if _is_composite(func):  # such arrive whole in inference mode
            return func.decompose(*args, **kwargs)
        said = kwargs.get("device")
        target = None if said is None else self.device(said)
        if func is aten._has_compatible_shallow_copy_type.default:
            return False
        if func is aten.copy_.default:
            return self._copy(*args, **kwargs)
        if func is aten._to_copy.default and target == CPU:
            return self._download(*args, **kwargs)
        tensors = [value for value in _leaves((args, kwargs)) if isinstance(value, Tensor)]
        there = [value for value in tensors if isinstance(value, CudaTensor)]
        indices = list(_leaves(args[1])) if func in INDEXING else []
        _check_devices(func, tensors, [*_numbers(args), *_numbers(kwargs.values()), *indices])
        self._note_waits(func, there[0], indices)
        for value in there:
            value.memory.read(self._stream(value))
        for value in _changed(func, args, kwargs):
            value.memory.write(self._stream(value))
        options = {name: value for name, value in kwargs.items() if name != "pin_memory"}
        if target:
            options["device"] = CPU
        args, options = _mapped(CudaTensor, lambda value: value.on_cpu, (args, options))
        result = func(*args, **options)
        device, given = target or there[0].device, {id(value.on_cpu): value for value in there}

        def outside(inner: Tensor) -> Tensor:
            if (changed := given.get(id(inner))) is None:
                return self.wrap(inner, device)
            if changed.shape != inner.shape or changed.stride() != inner.stride():
                changed.data = CudaTensor(inner, device)
            return changed

        return result if device == CPU else _mapped(Tensor, outside, result)

    def wrap(self, inner: Tensor, device: torch.device) -> CudaTensor:
        """A tensor of the device that has these values."""
        storage = inner.untyped_storage()
        if not hasattr(storage, "memory"):  # else it is a view
            self._allocate(storage, device.index)
        return CudaTensor(inner, device)

    def device(self, said: Any) -> torch.device:
        """With its number."""
        device = torch.device(said)
        if device.type != "cuda":
            return device
        index = self.streams.device if device.index is None else device.index
        if index >= len(self.allocated):
            raise RuntimeError("CUDA error: invalid device ordinal")
        return torch.device("cuda", index)

    def finish(self) -> None:
        """Raises for what has been found wrong."""
        self.streams.settle(self.streams.everything())
        assert not self.faults, self.faults

    def _stream(self, value: Tensor) -> Stream:
        return self.streams.now(value.device.index)

    def _allocate(self, storage: Any, index: int) -> None:
        size = storage.nbytes()
        if self.allocated[index] + size > self.memory:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes. GPU {index} has a total capacity of "
                f"{self.memory} bytes of which {self.memory - self.allocated[index]} bytes are free."
            )
        self.allocated[index] += size
        self.peak[index] = max(self.peak[index], self.allocated[index])
        storage.memory = Memory(self.streams.now(index))
        storage.memory.write(self.streams.now(index))
        weakref.finalize(storage, self._free, storage.memory, size, index).atexit = False

    def _free(self, memory: Memory, size: int, index: int) -> None:
        self.allocated[index] -= size
        self.faults += memory.faults_at_its_end()

    def _note_waits(self, func: Any, first: CudaTensor, indices: list[Any]) -> None:
        on_cpu = [index for index in indices if isinstance(index, Tensor) and not index.is_cuda]
        self.uploads += [Wait("an index of the CPU", _caller()) for _ in on_cpu]
        if func in INDEXING:
            waits = any(isinstance(index, Tensor) and index.dtype in MASKS for index in indices)
        else:
            waits = bool({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(func.tags))
        if waits:
            self.wait(func.__name__)
            self.streams.settle(self._stream(first).state())

    # Copies between the host and a device

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        if isinstance(source, CudaTensor):
            source.memory.read(self._stream(source))
        if not isinstance(target, CudaTensor):
            values = target.clone().copy_(source.on_cpu)
            return self._arrive(target, values, non_blocking and self.is_pinned(target), self._stream(source))
        target.memory.write(self._stream(target))
        target.on_cpu.copy_(getattr(source, "on_cpu", source))
        if isinstance(source, CudaTensor):
            return target
        if not non_blocking:
            self.uploads.append(Wait("copy to the device", _caller()))
            self.streams.settle(self._stream(target).state())
        elif self.is_pinned(source):
            as_it_was = source.clone()
            self.streams.later(self._stream(target), lambda: self._check_unchanged(source, as_it_was))
        return target

    def _download(self, source: CudaTensor, non_blocking: bool = False, **options: Any) -> Tensor:
        source.memory.read(self._stream(source))
        values = aten._to_copy.default(source.on_cpu, **{**options, "pin_memory": None, "device": CPU})
        result = torch.empty_like(values, pin_memory=non_blocking)
        return self._arrive(result, values, non_blocking, self._stream(source))

    def _arrive(self, target: Tensor, values: Tensor, late: bool, stream: Stream) -> Tensor:
        if late:
            rubbish = torch.full((values.nbytes,), RUBBISH, dtype=torch.uint8)
            target.copy_(rubbish.view(values.dtype).view(values.shape))
            self.streams.later(stream, lambda: _overwrite(target, values))
        else:
            self.wait("copy to the host")
            self.streams.settle(stream.state())
            target.copy_(values)
        return target

    def _check_unchanged(self, source: Tensor, as_it_was: Tensor) -> None:
        if not torch.equal(source, as_it_was):
            self.faults.append("pinned memory was written again before its copy to the device was through")

    def pin(self, tensor: Tensor) -> Tensor:
        """Pins the memory of a tensor of the CPU, for as long as it lives."""
        storage = tensor.untyped_storage()
        begin = storage.data_ptr()
        self._pinned[begin] = begin + storage.nbytes()
        weakref.finalize(storage, self._pinned.pop, begin).atexit = False
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whoever made the tensor: an array may lie there, too."""
        if tensor.is_cuda:
            return False
        address = tensor.data_ptr()
        return any(begin <= address < end for begin, end in list(self._pinned.items()))


def _leaves(value: Any) -> Iterator[Any]:
    """All that is in nested lists, tuples and dicts; PyTorch's own takes half of the time of an operator."""
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value


def _mapped(kind: type, change: Callable[[Any], Any], value: Any) -> Any:
    """What is in nested lists, tuples and dicts, with those of one kind changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(kind, change, one) for one in value])
    if isinstance(value, dict):
        return {key: _mapped(kind, change, one) for key, one in value.items()}
    return value


@cache
def _is_composite(func: Any) -> bool:
    """Whether an operator is made of others, on every device."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _overwrite(target: Tensor, values: Tensor) -> None:
    with torch.inference_mode(target.is_inference()):
        target.copy_(values)


def _numbers(arguments: Iterable[Any]) -> list[Tensor]:
    """Tensors of one number; in a list they do not count as such."""
    return [value for value in arguments if isinstance(value, Tensor) and not value.dim()]


def _check_devices(func: Any, tensors: list[Tensor], free: list[Any]) -> None:
    """Only tensors that are `free` may be on the CPU beside those of a device."""
    allowed = {id(value) for value in free}
    found = {str(value.device) for value in tensors if value.is_cuda or id(value) not in allowed}
    if len(found) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(sorted(found, reverse=True)[:2])}! (when checking the arguments of {func})"
        )


def _changed(func: Any, args: Any, kwargs: dict[str, Any]) -> list[CudaTensor]:
    """The arguments that an operator writes to."""
    if not func._schema.is_mutable:
        return []
    named = {about.name: value for about, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    written = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    leaves = _leaves([named.get(name) for name in written])
    return [value for value in leaves if isinstance(value, CudaTensor)]


def _caller() -> str:
    """The innermost line that is neither PyTorch's nor the device's."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(NOT_THE_CALLERS):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
