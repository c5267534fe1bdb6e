"""Training on made-up patients: quick to make, with something to learn."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.network.architecture import Architecture
from plugins.ct_harmonizer.network.build import read
from plugins.ct_harmonizer.network.plain import PlainUNet
from plugins.ct_harmonizer.simulate.dataset import FREQUENCY_PER_MM, Pool, Shots
from plugins.ct_harmonizer.train import checkpoint
from plugins.ct_harmonizer.train.curves import draw
from plugins.ct_harmonizer.train.examples import Examples
from plugins.ct_harmonizer.train.loop import rate, train
from plugins.ct_harmonizer.train.losses import huber
from plugins.ct_harmonizer.train.recipe import PAPER, PROCESSOR
from plugins.ct_harmonizer.train.texture import Texture
from plugins.ct_harmonizer.weights import shipped

TINY = Architecture(widths=(8, 16), maps=2, omega=2, output=4)
RECIPE = replace(PROCESSOR, crop=32, batch=2, rate=2e-3, rate_top=5e-3, cycle=40, ema=0.8)


def shots(seed):
    """Smooth truths of two slices, each in two renditions that are 60 HU too dense and noisy."""
    random = np.random.default_rng(seed)
    coarse = random.normal(-800, 60, (2, 8, 8))
    truth = np.kron(coarse, np.ones((8, 8))).astype(np.float32)
    hu = truth + 60 + random.normal(0, 20, (2, *truth.shape))
    mtf = np.exp(-((FREQUENCY_PER_MM / 0.5) ** 2)).astype(np.float32)
    lung = np.ones(truth.shape, bool)
    lung[:, :8] = False
    return Shots(hu.astype(np.int16), truth, lung, np.stack([mtf, mtf]), 0.7, 1.0, ("a", "b"))


@pytest.fixture
def pool(tmp_path):
    made = Pool(tmp_path / "pool")
    for seed in range(3):
        shots(seed).save(tmp_path / "pool" / f"{seed:06d}.npz")
    return made


@pytest.fixture(autouse=True)
def _held_out(monkeypatch):
    monkeypatch.setattr("plugins.ct_harmonizer.train.loop.patients", lambda _folder, _matrix: [shots(9)])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(out, pool, steps, **chosen):
    chosen = {"recipe": RECIPE, "architecture": TINY, "minutes": 5, "validate_every": 20} | chosen
    train(out, pool, steps=steps, tell=lambda _line: None, **chosen)


def test_it_learns_what_there_is_to_learn_and_exports_it(pool, tmp_path):
    run(tmp_path / "out", pool, 40)
    with (tmp_path / "out" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40"]
    last = {name: float(value) for name, value in rows[-1].items()}
    assert last["lung_shift_hu"] < 0.5 * last["before_lung_shift_hu"]
    assert last["lung_rmse_hu"] < 0.8 * last["before_lung_rmse_hu"]
    generator, facts = read([tmp_path / "out" / "best.safetensors"])
    assert generator.architecture == TINY
    assert int(facts["step"]) in {20, 40}
    assert shipped(tmp_path / "out").paths == (tmp_path / "out" / "best.safetensors",)  # a folder that can be shipped
    draw(tmp_path / "out" / "curves.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_ablations_unet_learns_by_the_same_loop_and_is_read_back_as_one(pool, tmp_path):
    run(tmp_path / "out", pool, 20, architecture=replace(TINY, physics=False))
    found, _ = read([tmp_path / "out" / "best.safetensors"])
    assert isinstance(found, PlainUNet)
    image = from_noise(1)
    assert torch.equal(found(image, torch.zeros(1, 1, 64, 64)), found(image, torch.ones(1, 1, 64, 64)))  # no MTF
    assert not torch.allclose(found(image), image)


def test_a_training_that_was_cut_ends_as_if_it_had_not_been(pool, tmp_path):
    run(tmp_path / "whole", pool, 12)
    run(tmp_path / "cut", pool, 5)
    run(tmp_path / "cut", pool, 12)
    whole, cut = (checkpoint.load(tmp_path / name / "last.pt", torch.device("cpu")) for name in ("whole", "cut"))
    assert whole["step"] == cut["step"] == 12
    for name, tensor in whole["average"].items():
        assert torch.equal(tensor, cut["average"][name]), name


def test_the_papers_recipe_runs_with_adversary_and_texture(pool, tmp_path):
    features = {}
    widths = {0: (3, 4), 2: (4, 4), 5: (4, 8), 7: (8, 8), 10: (8, 8)}
    for layer, (inner, outer) in widths.items():
        features[f"features.{layer}.weight"] = torch.randn(outer, inner, 3, 3) * 0.2
        features[f"features.{layer}.bias"] = torch.zeros(outer)
    torch.save(features, tmp_path / "vgg.pt")
    run(tmp_path / "out", pool, 2, recipe=replace(PAPER, crop=32, batch=2), vgg=tmp_path / "vgg.pt", validate_every=2)
    state = checkpoint.load(tmp_path / "out" / "last.pt", torch.device("cpu"))
    assert {"discriminator", "critic"} <= state.keys()
    texture = Texture(tmp_path / "vgg.pt")
    image, lung = from_noise(1), torch.ones(1, 1, 32, 32)
    assert texture(image, image, lung) == 0
    assert texture(image, from_noise(2), lung) > 0
    assert texture(image, from_noise(2), torch.zeros_like(lung)) == 0  # only lungs count


def from_noise(seed):
    return -0.9 + 0.05 * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_defaults_are_the_papers_weights():
    assert (PAPER.huber, PAPER.huber_delta, PAPER.texture, PAPER.adversarial, PAPER.penalty) == (1000, 0.5, 50, 1, 10)


def test_the_rate_rises_and_falls_in_each_cycle_half_as_high():
    recipe = replace(PAPER, rate=1.0, rate_top=3.0, cycle=100)
    assert [rate(step, recipe) for step in (0, 50, 100, 150)] == [1.0, 3.0, 1.0, 2.0]


def test_a_step_gives_the_same_batch_whatever_came_before(pool):
    files = pool.files()
    fresh, used = Examples(RECIPE, 3), Examples(RECIPE, 3)
    used.batch(0, files)
    one, other = fresh.batch(7, files), used.batch(7, files)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.mtf, other.mtf)
    assert one.image.shape == (2, 1, 32, 32)
    assert not torch.equal(one.image, used.batch(8, files).image)


def test_image_truth_and_lung_are_turned_together(pool):
    quiet = replace(RECIPE, noise_hu=0.0, jitter_hu=0.0, jitter_gain=0.0)
    batch = Examples(quiet, 1).batch(2, pool.files())
    difference_hu = 2048 * (batch.image - batch.truth)
    assert difference_hu.mean() == pytest.approx(60, abs=3)
    assert difference_hu.std() < 25  # another turn would add the deviation of the squares, 85 HU


def test_a_voxel_of_lung_counts_more(pool):
    batch = Examples(RECIPE, 1).batch(2, pool.files())
    half = torch.ones_like(batch.lung)
    half[..., :16] = 0  # a crop all of lung would weigh every pixel alike
    batch = replace(batch, lung=half)
    off = batch.truth + 0.1 * batch.lung
    alike, more = (huber(off, batch, replace(RECIPE, lung=lung)) for lung in (0.0, 4.0))
    assert more > alike
    assert huber(batch.truth, batch, RECIPE) == 0


def test_large_weights_are_exported_in_parts(tmp_path):
    weights = {f"layer{number}": torch.ones(5 << 20) for number in range(2)}
    parts = checkpoint.export(tmp_path / "w.safetensors", weights, TINY, {})
    assert [part.name for part in parts] == ["w-1-of-2.safetensors", "w-2-of-2.safetensors"]
    assert all(part.stat().st_size < 16 << 20 for part in parts)


def test_it_begins_with_exported_weights_where_there_are_some(pool, tmp_path):
    run(tmp_path / "out", pool, 40)
    best = tmp_path / "out" / "best.safetensors"
    run(tmp_path / "more", pool, 1, start=[best], recipe=replace(RECIPE, rate=0.0, rate_top=0.0))
    first, more = (checkpoint.load(tmp_path / folder / "last.pt", torch.device("cpu")) for folder in ("out", "more"))
    kept, _ = read([best])
    for name, tensor in kept.state_dict().items():
        assert torch.equal(more["generator"][name], tensor)
    assert first["step"] == 40
    assert more["step"] == 1
