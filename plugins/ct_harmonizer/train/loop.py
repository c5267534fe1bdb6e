"""The training, from top to bottom."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import nn

from plugins.ct_harmonizer.network.architecture import Architecture
from plugins.ct_harmonizer.network.build import Network, build, channels_last, read
from plugins.ct_harmonizer.network.discriminator import Discriminator
from plugins.ct_harmonizer.simulate.dataset import Pool, Shots
from plugins.ct_harmonizer.train import checkpoint, losses
from plugins.ct_harmonizer.train.examples import Examples
from plugins.ct_harmonizer.train.recipe import Recipe
from plugins.ct_harmonizer.train.texture import Texture
from plugins.ct_harmonizer.train.validation import patients, validate


def train(  # noqa: PLR0915 - read from top to bottom, it is one story
    out: Path,
    pool: Pool,
    *,
    recipe: Recipe,
    architecture: Architecture,
    minutes: float,
    steps: int | None = None,
    seed: int = 0,
    matrix: int = 512,
    validate_every: int = 500,
    vgg: Path | None = None,
    start: Sequence[Path] = (),
    tell: Callable[[str], None] = print,
) -> None:
    """Train for some minutes, or up to a step, from where the last call in this folder stopped, or the first time from exported weights where there are some to `start` from.

    Writes `last.pt` (all that resuming needs), `best.safetensors` (the averaged weights that did best on patients and kernels never trained on, fp16) and
    `curves.csv`.
    """
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    generator = (read(list(start))[0].train() if start else build(architecture)).to(device)
    architecture = generator.architecture
    channels_last(generator)
    average = checkpoint.Average(generator, recipe.ema)
    optimizer = torch.optim.Adam(generator.parameters(), recipe.rate, betas=(0.9, 0.99), fused=device.type == "cuda")
    discriminator = Discriminator().to(device) if recipe.adversarial else None
    critic = (
        torch.optim.Adam(discriminator.parameters(), recipe.critic_rate, betas=(0.5, 0.9)) if discriminator else None
    )
    texture = Texture(vgg).to(device) if vgg and recipe.texture else None
    step, best = 0, float("inf")

    last = out / "last.pt"
    if last.exists():
        state = checkpoint.load(last, device)
        step, best = state["step"], state["best"]
        generator.load_state_dict(state["generator"])
        optimizer.load_state_dict(state["optimizer"])
        average.weights = state["average"]
        if discriminator and critic:
            discriminator.load_state_dict(state["discriminator"])
            critic.load_state_dict(state["critic"])
        tell(f"resumed at step {step}")

    keep = partial(
        _keep,
        last,
        generator=generator,
        optimizer=optimizer,
        average=average,
        discriminator=discriminator,
        critic=critic,
    )
    held_out = patients(out / "validation", matrix)
    examples = Examples(recipe, seed)
    seen = 0.0
    while (steps is None or step < steps) and time.monotonic() - started < 60 * minutes:
        torch.manual_seed(seed + step)  # what the critic draws, too, is the step's own
        batch = examples.batch(step, pool.files()).to(device)
        for group in optimizer.param_groups:
            group["lr"] = rate(step, recipe)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            image = generator(batch.image, batch.mtf)

        loss = recipe.huber * losses.huber(image, batch, recipe)
        seen = 0.99 * seen + 0.01 * float(loss.detach()) if seen else float(loss.detach())
        if texture:
            loss = loss + recipe.texture * texture(image, batch.truth, batch.lung)
        if discriminator and critic:
            critic.zero_grad(set_to_none=True)
            losses.critic(discriminator, image, batch, recipe).backward()  # type: ignore[no-untyped-call]
            critic.step()
            loss = loss + recipe.adversarial * losses.fool(discriminator, image, batch)

        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(generator.parameters(), recipe.gradient_norm)
        optimizer.step()
        step += 1
        average.follow(generator, step)

        if step % validate_every == 0 or step == steps:
            found = _validated(generator, average, held_out, device)
            score = found["lung_rmse_hu"]
            _log(
                out / "curves.csv", {"step": step, "minutes": (time.monotonic() - started) / 60, "huber": seen, **found}
            )
            tell(
                f"step {step}: "
                + ", ".join(f"{name} {value:.2f}" for name, value in found.items() if "before" not in name)
            )
            if score < best:
                best = score
                facts = {"step": str(step), "recipe": str(asdict(recipe)), **{k: f"{v:.4f}" for k, v in found.items()}}
                checkpoint.export(out / "best.safetensors", average.weights, architecture, facts)
            keep(step=step, best=best)
    keep(step=step, best=best)


def rate(step: int, recipe: Recipe) -> float:
    """The cyclic learning rate (Smith, arXiv:1506.01186): a triangle, half as high each time."""
    cycle, within = divmod(step, recipe.cycle)
    height = 1 - abs(2 * within / recipe.cycle - 1)
    return recipe.rate + (recipe.rate_top - recipe.rate) * height * 0.5**cycle


def _validated(
    generator: Network,
    average: checkpoint.Average,
    held_out: list[Shots],
    device: torch.device,
) -> dict[str, float]:
    own = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    generator.load_state_dict(average.weights)
    found = validate(generator, held_out, device)
    generator.load_state_dict(own)
    return found


def _keep(
    path: Path,
    *,
    step: int,
    best: float,
    generator: Network,
    optimizer: torch.optim.Optimizer,
    average: checkpoint.Average,
    discriminator: Discriminator | None,
    critic: torch.optim.Optimizer | None,
) -> None:
    state = {
        "step": step,
        "best": best,
        "generator": generator.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
    }
    if discriminator and critic:
        state |= {"discriminator": discriminator.state_dict(), "critic": critic.state_dict()}
    checkpoint.save(path, state)


def _log(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
