"""Train the generator: `python -m plugins.ct_harmonizer.train --minutes 60 --out DIR`. Again with the same DIR, it goes on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from plugins.ct_harmonizer.network.architecture import FULL, PLAIN, SMALL, SMALL_PLAIN
from plugins.ct_harmonizer.simulate.dataset import Pool
from plugins.ct_harmonizer.train.curves import draw
from plugins.ct_harmonizer.train.loop import train
from plugins.ct_harmonizer.train.recipe import RECIPES

_ARCHITECTURES = {  # by whether it is the ablation's, and small
    (False, False): FULL,
    (False, True): SMALL,
    (True, False): PLAIN,
    (True, True): SMALL_PLAIN,
}


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m plugins.ct_harmonizer.train", description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="stop after so many")
    parser.add_argument("--steps", type=int, help="stop at this step where it comes before")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, curves and weights")
    parser.add_argument("--pool", type=Path, help="folder of virtual patients; OUT/pool unless given")
    parser.add_argument(
        "--patients", type=int, default=1600 if on_gpu else 60, help="to have in the pool before the first step"
    )
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="paper" if on_gpu else "processor")
    parser.add_argument("--small", action="store_true", help="a small network, for a processor")
    parser.add_argument("--plain", action="store_true", help="the ablation's U-Net, which does not see the MTF")
    parser.add_argument("--start", type=Path, nargs="*", default=[], help="exported weights to begin with, all parts")
    parser.add_argument("--vgg", type=Path, help="state dict of torchvision's VGG-19, for the texture loss")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    pool = Pool(chosen.pool or chosen.out / "pool")
    for number, path in enumerate(pool.fill(range(chosen.patients), slices=4, count=6, matrix=512)):
        print(f"\rpatient {number + 1} of {chosen.patients}: {path.name}", end="", flush=True)  # noqa: T201
    print()  # noqa: T201
    train(
        chosen.out,
        pool,
        recipe=RECIPES[chosen.recipe],
        architecture=_ARCHITECTURES[chosen.plain, chosen.small],
        minutes=chosen.minutes,
        steps=chosen.steps,
        seed=chosen.seed,
        vgg=chosen.vgg,
        start=chosen.start,
    )
    draw(chosen.out / "curves.csv", chosen.out / "curves.png")


if __name__ == "__main__":
    main()
