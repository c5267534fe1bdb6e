import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.mtf import MTFCurve
from plugins.ct_harmonizer.mtf.curve import on_grid
from plugins.ct_harmonizer.network.architecture import FULL, SMALL, Architecture
from plugins.ct_harmonizer.network.discriminator import Discriminator
from plugins.ct_harmonizer.network.generator import Generator
from plugins.ct_harmonizer.network.lambda_ import Lambda
from plugins.ct_harmonizer.network.normalisation import from_hu, mtf_2d, to_hu
from plugins.ct_harmonizer.network.omega import Omega
from plugins.ct_harmonizer.network.plain import PlainUNet

TINY = Architecture(widths=(8, 16), maps=2, omega=2, output=4)


def parameters(make):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make().parameters())


def test_sizes_are_those_of_the_paper():
    assert 15e6 < parameters(lambda: Generator(FULL)) < 27e6
    assert parameters(PlainUNet) == pytest.approx(29e6, rel=0.02)
    assert parameters(lambda: Generator(SMALL)) < 1e6


@pytest.mark.parametrize("shape", [(64, 64), (50, 77)])
def test_an_untrained_generator_gives_the_image_back_at_any_size(shape):
    image = torch.randn(2, 1, *shape)
    found = Generator(TINY)(image, torch.rand(2, 1, 64, 64))
    assert found.shape == image.shape
    assert torch.equal(found, image)
    assert torch.equal(PlainUNet(TINY)(image), image)


def test_slices_in_a_batch_do_not_know_of_each_other():
    generator = perturbed(Generator(TINY)).eval()
    images, mtf = torch.randn(3, 1, 48, 48), torch.rand(3, 1, 64, 64)
    together = generator(images, mtf)
    alone = generator(images[1:2], mtf[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-5)
    assert not torch.allclose(generator(images[1:2], mtf[2:]), alone, atol=1e-4)  # the MTF decides too


def perturbed(module):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def test_the_mtf_is_laid_on_the_images_own_frequencies():
    frequency = np.linspace(0, 1.6, 81)
    curve = np.exp(-((frequency / 0.4) ** 2))
    pixel_mm = (0.6, 0.9)
    expected = np.fft.fftshift(on_grid(MTFCurve(frequency, curve, curve, curve), pixel_mm))
    found = mtf_2d(torch.from_numpy(frequency), torch.from_numpy(curve)[None], pixel_mm)
    assert found.shape == (1, 1, 64, 64)
    assert found[0, 0, 32, 32] == 1
    assert np.allclose(found[0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(128, 128), (96, 60)])
def test_omega_keeps_each_frequency_in_its_place(shape):
    """Two transposed convolutions that only interpolate hand on the MTF; on the spectrum's grid it must lie where it lay."""
    omega = Omega(1)
    smooth = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = (smooth[:, None] * smooth)[None, None]
    with torch.no_grad():
        for layer in (omega.first, omega.second):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[:1, :1] = kernel
        omega.first.bias[0] = 20.0  # far from where SiLU bends
        omega.second.bias[0] = -20.0
    rows, columns = (torch.fft.fftshift(torch.fft.fftfreq(64)) for _ in range(2))
    broad = 1 - torch.hypot(rows[:, None], columns[None, :])
    found = omega(broad[None, None], shape)[0, 0]
    down, across = torch.fft.fftfreq(shape[0]), torch.fft.rfftfreq(shape[1])
    expected = 1 - torch.hypot(down[:, None], across[None, :])
    inside = (down.abs()[:, None] < 0.45) & (across[None, :] < 0.45)
    assert (found - expected)[inside].abs().max() < 0.02


def test_lambda_starts_by_leaving_the_spectrum_as_it_was():
    spectrum = torch.randn(1, 2, 16, 9, dtype=torch.complex64)
    assert torch.equal(Lambda(2, 3)(spectrum, torch.rand(1, 3, 16, 9)), spectrum)


def test_normalisation_is_the_papers_and_goes_back():
    hu = torch.tensor([-1000.0, 0.0, 1024.0])
    assert from_hu(hu).tolist() == pytest.approx([-0.98828125, -0.5, 0.0])
    assert torch.allclose(to_hu(from_hu(hu)), hu)


def test_the_discriminator_judges_patches():
    score = Discriminator(8)(torch.randn(2, 1, 64, 64), torch.randn(2, 1, 64, 64))
    assert score.shape == (2, 1, 6, 6)
    assert sum(isinstance(module, torch.nn.Conv2d) for module in Discriminator(8).modules()) == 5
