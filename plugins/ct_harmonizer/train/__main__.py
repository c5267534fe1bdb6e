"""Train the generator: `python -m plugins.ct_harmonizer.train --minutes 60 --out DIR`. Again with the same DIR, it goes on where it stopped."""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
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
    parser.add_argument("--minutes", type=float, required=True, help="stop after so many, of drawing and training")
    parser.add_argument("--steps", type=int, help="stop at this step where it comes before")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, curves and weights")
    parser.add_argument("--pool", type=Path, help="folder of virtual patients; OUT/pool unless given")
    parser.add_argument(
        "--patients",
        type=int,
        default=1600 if on_gpu else 60,
        help="of the pool; the first tenth before the first step",
    )
    parser.add_argument("--jobs", type=int, default=max((os.cpu_count() or 2) - 1, 1), help="processes that draw them")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="paper" if on_gpu else "processor")
    parser.add_argument("--small", action="store_true", help="a small network, for a processor")
    parser.add_argument("--plain", action="store_true", help="the ablation's U-Net, which does not see the MTF")
    parser.add_argument("--start", type=Path, nargs="*", default=[], help="exported weights to begin with, all parts")
    parser.add_argument("--vgg", type=Path, help="state dict of torchvision's VGG-19, for the texture loss")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    started = time.monotonic()
    pool = Pool(chosen.pool or chosen.out / "pool")
    growing = pool.growing(
        range(chosen.patients),
        first=max(chosen.patients // 10, 1),
        slices=4,
        count=6,
        matrix=512,
        jobs=chosen.jobs,
        tell=partial(print, flush=True),
    )
    with growing:
        train(
            chosen.out,
            pool,
            recipe=RECIPES[chosen.recipe],
            architecture=_ARCHITECTURES[chosen.plain, chosen.small],
            minutes=chosen.minutes - (time.monotonic() - started) / 60,
            steps=chosen.steps,
            seed=chosen.seed,
            vgg=chosen.vgg,
            start=chosen.start,
        )
    curves = chosen.out / "curves.csv"
    if curves.exists():  # nothing was validated yet where the minutes were few
        draw(curves, chosen.out / "curves.png")


if __name__ == "__main__":
    main()
