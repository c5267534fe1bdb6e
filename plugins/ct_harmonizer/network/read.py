"""A generator from the weights that training exported."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from plugins.ct_harmonizer.network.architecture import Architecture
from plugins.ct_harmonizer.network.generator import Generator


def read(paths: list[Path]) -> tuple[Generator, dict[str, str]]:
    """The generator, in fp32, and what the file tells of its training; the weights may lie in several parts."""
    weights: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata())
            weights |= {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a dictionary
    kept = json.loads(metadata["architecture"])
    generator = Generator(Architecture(**{**kept, "widths": tuple(kept["widths"])}))
    generator.load_state_dict(weights)
    return generator.eval(), metadata
