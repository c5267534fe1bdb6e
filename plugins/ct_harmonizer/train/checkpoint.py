"""What is kept on the disk while training, and the weights that are shipped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from plugins.ct_harmonizer.network.architecture import Architecture

_PART_BYTES = 15 << 20


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside the path and rename, so that a cut leaves the last whole one."""
    draft = path.with_suffix(".draft")
    torch.save(state, draft)
    draft.replace(path)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def export(
    path: Path, weights: dict[str, torch.Tensor], architecture: Architecture, facts: dict[str, str]
) -> list[Path]:
    """Write fp16 weights as safetensors, in parts of 15 MiB where they are more, and SHA256SUMS beside them: a folder of weights as it is shipped.

    The architecture and these facts go into the metadata.
    """
    metadata = {"architecture": json.dumps(asdict(architecture)), **facts}
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        half = tensor.detach().cpu().half().contiguous()
        if parts[-1] and size + half.nbytes > _PART_BYTES:
            parts.append({})
            size = 0
        parts[-1][name] = half
        size += half.nbytes
    written = []
    for number, part in enumerate(parts):
        file = path if len(parts) == 1 else path.with_name(f"{path.stem}-{number + 1}-of-{len(parts)}.safetensors")
        save_file(part, file, metadata)
        written.append(file)
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in written)
    (path.parent / "SHA256SUMS").write_text(sums)
    return written


class Average:
    """The exponential moving average of a module's weights: what is validated and shipped."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def follow(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            self.weights[name].lerp_(tensor.detach(), 1 - decay)
