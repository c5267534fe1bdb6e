"""A network by its architecture, new or with the weights that training exported."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from plugins.ct_harmonizer.network.architecture import Architecture
from plugins.ct_harmonizer.network.generator import Generator
from plugins.ct_harmonizer.network.plain import PlainUNet

Network = Generator | PlainUNet


def build(architecture: Architecture) -> Network:
    """Untrained: it gives the image back."""
    return Generator(architecture) if architecture.physics else PlainUNet(architecture)


def read(paths: list[Path]) -> tuple[Network, dict[str, str]]:
    """The network, in fp32, and what the file tells of its training; the weights may lie in several parts."""
    weights: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata())
            weights |= {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a dictionary
    kept = json.loads(metadata["architecture"])
    network = build(Architecture(**{**kept, "widths": tuple(kept["widths"])}))
    network.load_state_dict(weights)
    return network.eval(), metadata


def channels_last(network: Network) -> None:
    """Lay the weights of its two-dimensional convolutions out as processors like them. Lambda's has three dimensions."""
    for part in (network.gamma, network.output) if isinstance(network, Generator) else (network.gamma,):
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
