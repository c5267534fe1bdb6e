"""What the generator and its critic minimise."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from plugins.ct_harmonizer.network.discriminator import Discriminator
from plugins.ct_harmonizer.train.examples import Batch
from plugins.ct_harmonizer.train.recipe import Recipe

_SMALL = 1e-12  # inside the root: the gradient of a norm at 0


def huber(image: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """Huber's loss, quadratic up to delta, where a voxel of lung counts 1 + recipe.lung times."""
    each = F.huber_loss(image.float(), batch.truth, reduction="none", delta=recipe.huber_delta)
    weight = 1 + recipe.lung * batch.lung
    return (each * weight).sum() / weight.sum()


def critic(discriminator: Discriminator, image: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """Wasserstein distance with gradient penalty (Gulrajani et al., arXiv:1704.00028), in fp32."""
    image = image.detach().float()
    distance = discriminator(batch.image, image).mean() - discriminator(batch.image, batch.truth).mean()
    share = torch.rand(len(image), 1, 1, 1, device=image.device)
    between = (share * batch.truth + (1 - share) * image).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(batch.image, between).sum(), between, create_graph=True)
    norm = (slope.flatten(1).square().sum(dim=1) + _SMALL).sqrt()
    loss: Tensor = distance + recipe.penalty * (norm - 1).square().mean()
    return loss


def fool(discriminator: Discriminator, image: Tensor, batch: Batch) -> Tensor:
    """What the generator loses by looking untrue."""
    score: Tensor = discriminator(batch.image, image.float())
    return -score.mean()
