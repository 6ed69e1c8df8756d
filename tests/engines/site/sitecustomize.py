"""Test-only: on PYTHONPATH of every process of the engine tests, so that torchvision imports there.

PyPI's torchvision and torchaudio are built for CUDA. Beside a CPU build of torch their own libraries do
not load: torchvision's import fails for want of two operators, which nothing here calls, so they are
defined before it is imported; torchaudio and torchcodec are hidden, as nothing here listens.
"""

import importlib.abc
import importlib.metadata
import sys

OPERATORS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Defines the operators when torchvision is looked for, and leaves the finding to others."""

    def find_spec(self, name, path, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            define_operators()


def define_operators():
    import torch

    for name, schema in OPERATORS.items():
        torch.library.define(name, schema)


def mismatched():
    """Whether torch is a CPU build and torchvision is not."""
    try:
        torch, torchvision = (importlib.metadata.version(name) for name in ("torch", "torchvision"))
    except importlib.metadata.PackageNotFoundError:
        return False
    return torch.endswith("+cpu") and not torchvision.endswith("+cpu")


if mismatched():
    sys.meta_path.insert(0, BeforeTorchvision())
    for absent in ("torchaudio", "torchcodec"):
        sys.modules.setdefault(absent, None)
