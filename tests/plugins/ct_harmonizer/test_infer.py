import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.infer import Harmonizer, fitting
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


def test_where_memory_does_not_suffice_half_as_many_are_worked_at_and_none_is_lost_or_done_twice():
    asked: list[tuple[int, int]] = []

    def work(part: slice) -> list[int]:
        asked.append((part.start, part.stop))
        if part.stop - part.start > 3:
            raise torch.OutOfMemoryError
        return list(range(part.start, part.stop))

    parts = list(fitting(13, 8, work))
    assert [number for _, made in parts for number in made] == list(range(13))
    assert asked[:3] == [(0, 8), (0, 4), (0, 2)]
    assert max(stop - start for start, stop in asked[2:]) == 2  # it does not try again what did not fit


def test_one_slice_that_does_not_fit_is_told():
    def work(_part: slice) -> None:
        raise torch.OutOfMemoryError("no more")

    with pytest.raises(torch.OutOfMemoryError, match="no more"):
        list(fitting(4, 4, work))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the memory of one cannot run out")
def test_a_gpu_whose_memory_does_not_suffice_gives_the_same(harmonizer):
    hu = np.tile(volume((4, 512, 512)), (16, 1, 1))
    own = Harmonizer(harmonizer._network, torch.device("cuda"))
    whole = run(own, hu, batch=1)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 256e6 / total))
    try:
        assert np.allclose(run(own, hu, batch=64), whole, atol=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        harmonizer._network.to("cpu")
