"""The texture loss: Gram matrices of ImageNet features of the lungs (Gatys et al., arXiv:1505.07376; weights as the paper's)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

_LAYERS = (0, 2, 5, 7, 10)  # convolutions of torchvision's vgg19.features that are looked at, as far as relu3_1
_POOLED_BEFORE = (5, 10)
_WINDOW_HU = (-1100.0, 100.0)


class Texture(nn.Module):
    """MSE between the normalised Gram matrices of lung-masked images.

    The features are those of torchvision's VGG-19: a state dict with the keys `features.0.weight` and so on.
    """

    def __init__(self, state_dict: Path) -> None:
        super().__init__()
        weights = torch.load(state_dict, map_location="cpu", weights_only=True)
        self.layers = nn.ModuleList()
        for layer in _LAYERS:
            weight, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            self.layers.append(convolution.requires_grad_(requires_grad=False))

    def forward(self, image: Tensor, truth: Tensor, lung: Tensor) -> Tensor:
        """Normalised images and the mask, (B, 1, H, W) each, to a number."""
        pair = torch.cat([image * lung, truth * lung])
        low, high = ((of - 1024) / 2048 for of in _WINDOW_HU)
        seen = ((pair - low) / (high - low)).expand(-1, 3, -1, -1)
        loss = torch.zeros((), device=image.device)
        for number, layer in zip(_LAYERS, self.layers, strict=True):
            if number in _POOLED_BEFORE:
                seen = F.max_pool2d(seen, 2)
            seen = F.relu(layer(seen))
            flat = seen.float().flatten(2)
            gram = flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])
            found, wanted = gram.chunk(2)
            loss = loss + F.mse_loss(found, wanted)
        return loss
