import numpy as np

from plugins.ct_harmonizer.simulate.phantom.draw import FULL, Canvas, draw_tree
from plugins.ct_harmonizer.simulate.phantom.trees import MURRAY_EXPONENT, Tree, beside, grow

ROOT = np.array([0.0, 0.0, 0.0])


def grown():
    random = np.random.default_rng(7)
    points = random.uniform((20, -40, -40), (100, 40, 40), (400, 3))
    return grow(ROOT, points, 6.0, random), points


def test_branches_join_taper_and_reach_the_tissue():
    tree, points = grown()
    starts, ends = tree.ends_mm[:, 0], tree.ends_mm[:, 1]
    joints = {tuple(end) for end in ends} | {tuple(ROOT)}
    assert all(tuple(start) in joints for start in starts)
    assert (tree.radii_mm[:, 0] >= tree.radii_mm[:, 1]).all()
    gaps = np.linalg.norm(points[:, None] - ends[None], axis=2).min(axis=1)
    assert np.median(gaps) < 6
    assert gaps.max() < 20


def test_radii_follow_murrays_law():
    tree, points = grown()
    smallest = tree.radii_mm[:, 1].min()
    assert np.isclose(smallest, 6.0 * (1 / len(points)) ** (1 / MURRAY_EXPONENT))


def test_airways_run_beside_large_arteries_without_touching_them():
    tree, _ = grown()
    towards = np.array([0.0, 0.0, 1.0])
    airway = beside(tree, towards, 1.0)
    assert 0 < len(airway.ends_mm) < len(tree.ends_mm)
    kept = tree.radii_mm.min(axis=1) >= 1.0
    shift = np.linalg.norm(airway.ends_mm - tree.ends_mm[kept], axis=2)
    assert (shift > tree.radii_mm[kept] + airway.radii_mm).all()


def test_a_drawn_vessel_has_its_volume():
    canvas = Canvas(np.arange(-10, 10, 2.0), 96, 0.45, 2.0)
    volume = canvas.empty()
    oblique = Tree(np.array([[[-15.0, -8.0, -6.0], [14.0, 9.0, 5.0]]]), np.array([[2.0, 2.0]]))
    draw_tree(canvas, volume, oblique)
    length = np.linalg.norm(oblique.ends_mm[0, 1] - oblique.ends_mm[0, 0])
    expected = np.pi * 2.0**2 * length + 4 / 3 * np.pi * 2.0**3
    assert np.isclose(volume.sum() / FULL * 0.45**2 * 2.0, expected, rtol=0.03)
