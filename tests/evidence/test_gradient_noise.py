"""Signal and noise of streams of vectors: against all of them at once, and where both are known."""

from functools import reduce

import numpy as np
import pytest

from jvi.evidence import diagnostics, gradient_noise
from jvi.evidence.gradient_noise import merge, moments, noise, reference, scores, turns

FOLDS = 4


def measured(vectors, folds=FOLDS):
    """`Noise` of the rows of an array, each of them used alone."""
    of_folds = [reduce(merge, map(moments, vectors[i::folds])) for i in range(folds)]
    against = [reference(of_folds, i) for i in range(folds)]
    scored = reduce(merge, [moments(scores(v, against[i % folds])) for i, v in enumerate(vectors)])
    return noise(scored, reduce(merge, [moments(turns(v, against[0], scored)) for v in vectors]))


@pytest.mark.parametrize("split", [1, 3, 7, 9])
def test_merged_moments_are_those_of_all(split):
    vectors = 1e6 + np.random.default_rng(0).normal(size=(10, 5))
    parts = [reduce(merge, map(moments, part)) for part in (vectors[:split], vectors[split:])]
    found = merge(*parts)
    assert found.number == 10
    np.testing.assert_allclose(found.mean, vectors.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.squares, 10 * vectors.var(axis=0), rtol=1e-8)


def test_strong_signals_have_the_ratios_of_all_at_once():
    """Where no sign is in doubt: |mean| / deviation, with the correction for Gaussians."""
    rng = np.random.default_rng(1)
    vectors = rng.choice([-1.0, 1.0], 6) * 5.0 + rng.normal(size=(40, 6)) * np.arange(1, 7) ** 0.5
    found, mean = measured(vectors), vectors.mean(axis=0)
    ratios = np.abs(mean) / vectors.std(axis=0) * (1 - 1.25 / 40)
    assert found.snr == pytest.approx(ratios.mean(), rel=1e-12)
    assert found.snr_ovis == pytest.approx(ratios.mean(), rel=1e-12)
    assert found.magnitude == pytest.approx(np.abs(mean).mean(), rel=1e-12)
    assert found.variance == pytest.approx(vectors.var(axis=0, ddof=1).mean(), rel=1e-12)
    direction = mean / np.linalg.norm(mean)
    along = vectors @ direction
    across = np.linalg.norm(vectors - along[:, None] * direction, axis=1)
    assert found.dsnr == pytest.approx((np.abs(along) / across).mean(), rel=0.02)


def known(case, rng):
    """(mean, square root of the covariance) of Gaussian vectors, shape (20,) and (20, 20)."""
    own = np.diag(np.exp(rng.normal(size=20)))
    together = own @ (0.3 * np.eye(20) + np.full((20, 20), 0.2))
    root = together if case.startswith("correlated") else own
    deviation = np.linalg.norm(root, axis=1)
    size = float(case.split()[-1])
    return size * deviation * rng.choice([-1.0, 1.0], 20), root


CASES = ["apart 0.05", "apart 0.2", "apart 1", "correlated 0.3", "correlated 1", "correlated 3"]


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_what_is_known(case):
    """Two errors, from 64 estimates, hold the truth in 93% of cases: 23 of 30 is p = 0.004."""
    rng = np.random.default_rng(2)
    mean, root = known(case, rng)
    deviation = np.linalg.norm(root, axis=1)
    many = mean + rng.normal(size=(50_000, 20)) @ root.T
    direction = mean / np.linalg.norm(mean)
    along = many @ direction
    across = np.linalg.norm(many - along[:, None] * direction, axis=1)
    truth = {
        "snr": (np.abs(mean) / deviation).mean(),
        "dsnr": (np.abs(along) / across).mean(),
        "magnitude": np.abs(mean).mean(),
        "variance": (deviation**2).mean(),
    }
    runs = [measured(mean + rng.normal(size=(64, 20)) @ root.T) for _ in range(30)]
    for name, value in truth.items():
        z = [(getattr(run, name) - value) / getattr(run, f"{name}_error") for run in runs]
        assert np.sum(np.abs(z) < 2) > 23, (name, value, z)
        if case.endswith((" 1", " 3")):  # no sign is in doubt: errors that are not too large, too
            assert np.std(z) > 0.65, (name, np.std(z))


def test_without_a_signal_there_is_none_to_be_seen():
    """|m|/s is √(2/(π n)) then: half of that is left, and said to be in doubt."""
    rng, count = np.random.default_rng(3), 64
    runs = [measured(rng.normal(size=(count, 50))) for _ in range(20)]
    excess = np.mean([run.snr for run in runs]) / (2 / (np.pi * count)) ** 0.5
    assert 0.4 < excess < 0.62
    assert sum(run.snr < 2.0 * run.snr_error for run in runs) > 15


def test_what_never_varies_has_no_ratio_and_ovis_leaves_out_what_hardly_does():
    rng = np.random.default_rng(4)
    vectors = np.stack([np.zeros(32), 3.0 + rng.normal(size=32), np.full(32, 2.0)], axis=1)
    alone = measured(vectors[:, 1:2])
    found = measured(vectors)
    assert found.snr == pytest.approx(alone.snr) and found.snr_ovis == pytest.approx(alone.snr)
    assert found.magnitude == pytest.approx((vectors[:, 1].mean() + 2.0) / 3)
    hardly = np.stack([vectors[:, 1], 1.0 + 1e-9 * rng.normal(size=32)], axis=1)
    found = measured(hardly)
    assert found.snr > 1e8 and found.snr_ovis == pytest.approx(alone.snr)


def test_one_parameter_has_no_direction_and_none_varying_no_ratio():
    rng = np.random.default_rng(5)
    assert np.isnan(measured(rng.normal(size=(16, 1))).dsnr)
    assert np.isnan(measured(np.ones((16, 3))).snr)


def test_one_fold_has_no_others():
    with pytest.raises(ValueError, match="at least 2 folds"):
        reference([moments(np.ones(3))], 0)


def test_any_library(strict):
    put, get = strict
    vectors = np.random.default_rng(6).normal(size=(8, 3))
    of_folds = [reduce(merge, [moments(put(v)) for v in vectors[i::2]]) for i in range(2)]
    against = [reference(of_folds, i) for i in range(2)]
    scored = reduce(merge, [moments(scores(put(v), against[i % 2])) for i, v in enumerate(vectors)])
    turned = reduce(merge, [moments(turns(put(v), against[0], scored)) for v in vectors])
    scored, turned = (each._replace(squares=get(each.squares)) for each in (scored, turned))
    found = noise(scored._replace(mean=get(scored.mean)), turned)
    np.testing.assert_allclose(found, measured(vectors, 2), rtol=1e-12)


def test_diagnostics_has_them_too():
    assert set(gradient_noise.__all__) <= set(diagnostics.__all__)
    assert all(
        getattr(diagnostics, n) is getattr(gradient_noise, n) for n in gradient_noise.__all__
    )
