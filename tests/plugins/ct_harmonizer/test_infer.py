import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.infer import Harmonizer
from plugins.ct_harmonizer.network.architecture import Architecture
from plugins.ct_harmonizer.network.generator import Generator

FREQUENCY = np.linspace(0, 1.6, 81)
MTF = np.exp(-((FREQUENCY / 0.5) ** 2))


@pytest.fixture(scope="module")
def harmonizer():
    torch.manual_seed(4)
    generator = Generator(Architecture(widths=(8, 16), maps=2, omega=2, output=4))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return Harmonizer(generator, torch.device("cpu"))


def volume(shape=(5, 60, 52)):
    return np.random.default_rng(2).normal(-400, 300, shape).astype(np.float32)


def run(harmonizer, hu, padding=None, mtf=MTF, pixel_mm=(0.7, 0.7), batch=None):
    padding = np.zeros(hu.shape, bool) if padding is None else padding
    return np.stack(
        list(harmonizer.slices(hu, padding, frequency_per_mm=FREQUENCY, mtf=mtf, pixel_mm=pixel_mm, batch=batch))
    )


def test_the_bytes_do_not_depend_on_the_batch_or_the_neighbours(harmonizer):
    hu = volume()
    whole = run(harmonizer, hu)
    assert whole.shape == hu.shape
    assert whole.dtype == np.float32
    for batch in (1, 2, 5):
        assert np.array_equal(run(harmonizer, hu, batch=batch), whole)
    assert np.array_equal(run(harmonizer, hu[3:4]), whole[3:4])


def test_padding_comes_back_untouched_and_does_not_count(harmonizer):
    hu, padding = volume(), np.zeros((5, 60, 52), bool)
    padding[:, :9] = True
    padding[2] = True  # a slice with nothing in it
    other = hu.copy()
    other[padding] = -2000.0
    found, again = run(harmonizer, hu, padding), run(harmonizer, other, padding)
    assert np.array_equal(found[padding], hu[padding])
    assert np.array_equal(again[padding], other[padding])
    rest = ~padding
    assert np.array_equal(found[rest], again[rest])


def test_mtf_and_pixel_size_decide_too(harmonizer):
    hu = volume()
    plain = run(harmonizer, hu)
    assert not np.allclose(run(harmonizer, hu, mtf=MTF**3), plain, atol=0.01)
    assert not np.allclose(run(harmonizer, hu, pixel_mm=(0.9, 0.9)), plain, atol=0.01)


def test_what_no_network_has_seen_is_clipped_before_it_is_shown(harmonizer):
    hu = volume()
    wild = hu.copy()
    wild[0, 5, 5] = 30000.0
    tame = hu.copy()
    tame[0, 5, 5] = 3071.0
    assert np.array_equal(run(harmonizer, wild), run(harmonizer, tame))
