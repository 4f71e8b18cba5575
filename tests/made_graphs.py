"""CUDA graphs on a CPU, for tests: what is recorded is not done, and replayed on the same memory."""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from rlsp.inference import restorer

# what waits for the device, or reads memory of the host that may be gone when the graph is replayed
FORBIDDEN = ("_local_scalar_dense", "aten.item", "lift_fresh", "nonzero", "is_pinned")


class MadeGraph(TorchDispatchMode):
    """Records the operations of a block with the memory of their results."""

    def __init__(self):
        super().__init__()
        self.operations, self.before, self.made = [], {}, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if any(name in str(function) for name in FORBIDDEN):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        for tensor in self.tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.made:
                self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        results = function(*args, **kwargs)
        self.made |= {
            tensor.untyped_storage().data_ptr()
            for tensor in self.tensors(results)
            if tensor.untyped_storage().data_ptr() not in self.before
        }
        self.operations.append((function, args, kwargs, results))
        return results

    @staticmethod
    def tensors(tree):
        leaves = pytree.tree_leaves(tree)
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided]

    def undo(self):
        for storage, saved in self.before.values():
            storage.copy_(saved)

    def replay(self):
        for function, args, kwargs, results in self.operations:
            again = function(*args, **kwargs)
            for old, new in zip(self.tensors(results), self.tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class MadeStream:
    def wait_stream(self, other):
        pass


@contextmanager
def recording(graph, *, stream, capture_error_mode):
    assert isinstance(stream, MadeStream)
    try:
        with graph:
            yield
    finally:
        graph.undo()


def install(monkeypatch):
    """Let `torch.cuda` record and replay on the CPU."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", MadeGraph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "Stream", MadeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", MadeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    monkeypatch.setattr(restorer, "_recording_stream", MadeStream)
