"""ComBat against neuroCombat, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.evaluate.combat import combat


@pytest.fixture(scope="module")
def figures() -> tuple[np.ndarray, list[str], np.ndarray]:
    """Features (sample, feature) of three batches with shifts and scales, their batches, and an age that matters."""
    random = np.random.default_rng(5)
    batches = ["a"] * 12 + ["b"] * 9 + ["c"] * 15
    age = random.normal(60, 10, 36)
    features = random.normal(0, 1, (36, 6)) * [1, 2, 3, 4, 5, 6] + 0.2 * age[:, None]
    for name, shift, scale in (("b", 5, 2.0), ("c", -3, 0.6)):
        own = np.array(batches) == name
        features[own] = features[own] * scale + shift + random.normal(0, 1, 6)
    return features, batches, age[:, None]


@pytest.mark.parametrize("reference", [None, "b"])
@pytest.mark.parametrize("empirical_bayes", [True, False])
def test_it_is_neurocombat(figures, reference, empirical_bayes, monkeypatch, capsys) -> None:
    pandas = pytest.importorskip("pandas", reason="neuroCombat imports pandas")
    neurocombat = pytest.importorskip("neuroCombat", reason="the oracle of ComBat is in the extra `dev`").neuroCombat
    monkeypatch.setattr(np, "int", int, raising=False)  # neuroCombat 0.2.12 calls what numpy has removed
    features, batches, age = figures
    theirs = neurocombat(
        features.T,
        pandas.DataFrame({"batch": batches, "age": age[:, 0]}),
        "batch",
        continuous_cols=["age"],
        eb=empirical_bayes,
        ref_batch=reference,
    )["data"].T
    ours = combat(features, batches, covariates=age, reference=reference, empirical_bayes=empirical_bayes)
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)  # it keeps the age in single precision


def test_the_reference_stays_and_the_others_come_to_it() -> None:
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (60, 4))
    features[30:] += [4, 5, 6, 7]
    batches = ["here"] * 30 + ["there"] * 30
    out = combat(features, batches, reference="here")
    assert (out[:30] == features[:30]).all()
    assert np.abs(out[30:].mean(axis=0) - out[:30].mean(axis=0)).max() < 0.5


def test_batches_of_one_and_unknown_references_are_named() -> None:
    with pytest.raises(ValueError, match="two samples"):
        combat(np.zeros((3, 2)), ["a", "a", "b"])
    with pytest.raises(ValueError, match="'z' is none of a, b"):
        combat(np.zeros((4, 2)), ["a", "a", "b", "b"], reference="z")


def test_a_figure_that_is_the_same_in_all_of_a_batch_stays_a_number() -> None:
    features = np.random.default_rng(1).normal(0, 1, (8, 2))
    features[4:, 0] = -1024
    out = combat(features, ["here"] * 4 + ["floor"] * 4, reference="here", empirical_bayes=False)
    assert out[4:, 0] == pytest.approx(features[:4, 0].mean())
