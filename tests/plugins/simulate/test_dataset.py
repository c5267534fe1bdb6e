import numpy as np
import pytest

from plugins.ct_harmonizer.simulate.dataset import FREQUENCY_PER_MM, Pool, Shots, make, random_session
from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name

CHOSEN = [by_name("Force Br40 100 mAs"), by_name("Force Br59 20 mAs")]


@pytest.fixture(scope="module")
def shots():
    return make(Patient(), CHOSEN, Grid(128, 2.8), np.array([-60.0, -20.0]), thickness_mm=3.0, seed=5, detail=0.02)


def test_each_rendition_shows_the_truth_in_its_own_way(shots):
    assert shots.hu.shape == (2, 2, 128, 128)
    assert shots.hu.min() >= -1024
    error = [(hu - shots.true_hu)[shots.lung] for hu in shots.hu]
    assert abs(error[0].mean()) < 6
    assert error[1].std() > 1.5 * error[0].std()  # a fifth of the dose, and sharper
    f50 = [np.interp(-0.5, -mtf, FREQUENCY_PER_MM) for mtf in shots.mtf]
    assert f50[0] < CHOSEN[0].kernel.f50_per_mm  # at the skin
    assert f50[0] < f50[1] < CHOSEN[1].kernel.f50_per_mm


def test_a_pool_gives_back_what_it_was_given(shots, tmp_path):
    shots.save(tmp_path / "000001.npz")
    (path,) = Pool(tmp_path).files()
    again = Shots.load(path)
    assert np.array_equal(again.hu, shots.hu)
    assert np.abs(again.true_hu - shots.true_hu).max() <= 0.0625
    assert np.array_equal(again.mtf, shots.mtf)
    assert again.names == ("Force Br40 100 mAs", "Force Br59 20 mAs")


def test_a_session_follows_its_seed_and_its_slices_lie_evenly_within_the_lungs():
    session = random_session(4, slices=4, count=3)
    again = random_session(4, slices=4, count=3)
    assert (session.patient, session.chosen, session.image) == (again.patient, again.chosen, again.image)
    assert np.array_equal(session.z_mm, again.z_mm)
    assert len(session.chosen) == 3
    assert np.ptp(np.diff(session.z_mm)) < 1e-9
    size = session.patient.size
    assert -110 * size <= session.z_mm.min() < session.z_mm.max() <= 60 * size
    assert {random_session(seed, slices=2, count=1).profile for seed in range(8)} == {"axial", "helical"}


def test_a_pool_grows_beside_its_use_and_draws_no_patient_twice(shots, tmp_path):
    shots.save(tmp_path / "000001.npz")
    (tmp_path / ".000002-1f.npz").touch()  # left by a process that was killed
    told, pool = [], Pool(tmp_path)
    with pool.growing([1, 2], first=2, slices=2, count=1, matrix=64, jobs=1, tell=told.append):
        assert [path.name for path in pool.files()] == ["000001.npz", "000002.npz"]
    assert told == ["000002.npz: 2 of 2 patients"]
    assert not list(tmp_path.glob(".*.npz"))
    assert Shots.load(tmp_path / "000002.npz").hu.shape == (1, 2, 64, 64)
    assert Shots.load(tmp_path / "000001.npz").hu.shape == shots.hu.shape
    with pool.growing([1, 3], first=1, slices=2, count=1, matrix=64, jobs=1, tell=told.append):
        assert not (tmp_path / "000003.npz").exists(), "the block does not wait for it"
    with (
        pytest.raises(ZeroDivisionError),
        pool.growing([4], first=1, slices=0, count=1, matrix=64, jobs=1, tell=told.append),
    ):
        pass
    assert "could not be drawn" in told[-1]
