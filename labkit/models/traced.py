"""torchvision's two-graph feature extractor, with copies that stay in the mode of the original."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.feature_extraction import DualGraphModule, create_feature_extractor


class TracedNetwork(DualGraphModule):
    """A network as two traced graphs, one for training and one for evaluation; `train()`, `eval()` switch."""

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedNetwork:
        """A copy in the same mode, module by module: torchvision's own leaves the copy in training mode."""
        copied = super().__deepcopy__(memo)
        copied.train(self.training)
        for name, module in self.named_modules():
            copied.get_submodule(name).training = module.training
        return copied


def trace(net: nn.Module, nodes: list[str]) -> TracedNetwork:
    """A network that returns a dict of the named nodes; parameters are shared and keep their names."""
    extractor = create_feature_extractor(net, nodes)
    return TracedNetwork(extractor, extractor.train_graph, extractor.eval_graph)
