"""Test-only: on PYTHONPATH of every process of the engine tests, so that torchvision imports there.

PyPI's torchvision is built for CUDA. Beside a CPU build of torch its own operators do not load, and the
import fails for want of two of them, which nothing here calls: they are defined before it is imported.
"""

import importlib.abc
import importlib.machinery
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

    if torch.version.cuda is None and not importlib.metadata.version("torchvision").endswith("+cpu"):
        for name, schema in OPERATORS.items():
            torch.library.define(name, schema)


sys.meta_path.insert(0, BeforeTorchvision())
