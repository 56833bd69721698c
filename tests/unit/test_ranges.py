"""Range estimators: what each makes of the values it has seen."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.errors import ThumbnetError
from codegen.ir import Bounds
from codegen.quant.ranges import (
    ESTIMATORS,
    Average,
    Entropy,
    LeastError,
    MinMax,
    Percentile,
    rounded,
)
from codegen.quant.scales import activation_qparams


class TestEstimators:
    def test_minmax(self) -> None:
        estimator = MinMax()
        for batch in ([0.5, -2.0], [7.0], [1.0, 1.0]):
            estimator.observe(np.array(batch, np.float32))
        assert estimator.range() == (-2.0, 7.0)

    @pytest.mark.parametrize("name", ESTIMATORS)
    @pytest.mark.parametrize("value", [0.0, 3.0, -2.5])
    def test_constant(self, name: str, value: float) -> None:
        estimator = ESTIMATORS[name]()
        estimator.observe(np.full((2, 3, 3, 1), value, np.float32))
        lo, hi = estimator.range()
        bin_width = 2 * abs(value) / Percentile.BINS
        assert lo <= value <= hi
        assert hi - lo <= bin_width

    @pytest.mark.parametrize("share", [0.99, 0.999])
    @pytest.mark.parametrize("shift", [0.0, 40.0])
    def test_percentile_is_numpy_s_within_a_bin(self, share: float, shift: float) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(shift, 1, 60_000).astype(np.float32)
        estimator = Percentile(share)
        for batch in np.split(values, 12):
            estimator.observe(batch)
        want = np.percentile(values, [100 * (1 - share), 100 * share])
        # The range may have doubled once beyond the largest value.
        bin_width = 2 * 2 * np.abs(values).max() / Percentile.BINS
        assert np.abs(np.array(estimator.range()) - want).max() <= bin_width

    def test_the_order_and_size_of_batches_hardly_matter(self) -> None:
        """From small to large values the bins double many times; nothing is lost by it."""
        values = np.sort(np.random.default_rng(0).exponential(1, 20_000)).astype(np.float32)
        values *= np.random.default_rng(1).choice([-1, 1], len(values)).astype(np.float32)
        growing, whole = Percentile(0.995), Percentile(0.995)
        for batch in np.split(values, 200):
            growing.observe(batch)
        whole.observe(values)
        assert growing._counts.sum() == whole._counts.sum() == len(values)
        width = float(4 * np.abs(values).max() / Percentile.BINS)
        assert np.array(growing.range()) == pytest.approx(np.array(whole.range()), abs=width)

    def test_percentile_leaves_outliers_out(self) -> None:
        values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
        values[:5] = 50.0
        estimator = Percentile()
        estimator.observe(values)
        lo, hi = estimator.range()
        assert -1.0 <= lo <= -0.95
        assert 0.95 <= hi <= 1.05

    def test_percentile_stays_inside_what_was_seen(self) -> None:
        estimator = Percentile()
        estimator.observe(np.array([-0.25, 0.1, 0.75], np.float32))
        lo, hi = estimator.range()
        assert -0.25 <= lo <= hi <= 0.75

    @pytest.mark.parametrize("name", ESTIMATORS)
    @pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
    def test_not_finite_comes_out(self, name: str, value: float) -> None:
        """So that quantization can refuse it by name."""
        estimator = ESTIMATORS[name]()
        estimator.observe(np.array([0.0, value, 1.0], np.float32))
        estimator.observe(np.array([0.5, 2.0], np.float32))
        with pytest.raises(ThumbnetError, match="not finite"):
            activation_qparams(estimator.range(), Bounds(), "t")


class TestClippingEstimators:
    """Those that weigh what clipping loses against what a coarse step loses."""

    def test_average_is_the_mean_of_the_pictures_ends_while_they_are_few(self) -> None:
        estimator = Average()
        estimator.observe(np.array([[-1.0, 2.0], [-3.0, 4.0]], np.float32))
        estimator.observe(np.array([[-2.0, 9.0]], np.float32))
        assert estimator.range() == pytest.approx((-2.0, 5.0))

    def test_least_error_finds_the_best_of_a_grid(self) -> None:
        values = np.random.default_rng(0).standard_t(3, 50_000).astype(np.float32)
        least, widest = LeastError(), MinMax()
        for batch in np.split(values, 10):
            least.observe(batch)
            widest.observe(batch)

        def error(ends: tuple[float, float]) -> float:
            return float(((rounded(values.astype(float), *ends) - values) ** 2).mean())

        lo, hi = widest.range()
        shares = np.linspace(0.2, 1.0, 9)
        best = min(error((a * lo, b * hi)) for a in shares for b in shares)
        assert best < error(widest.range())
        assert error(least.range()) <= 1.02 * best

    def test_least_error_clips_nothing_of_a_uniform_tensor(self) -> None:
        values = np.random.default_rng(0).uniform(0, 6, 50_000).astype(np.float32)
        estimator = LeastError()
        estimator.observe(values)
        assert estimator.range()[1] == pytest.approx(6.0, rel=0.02)

    def test_entropy_clips_a_lonely_outlier(self) -> None:
        values = np.abs(np.random.default_rng(0).normal(0, 1, 100_000)).astype(np.float32)
        values[0] = 60.0
        estimator = Entropy()
        estimator.observe(values)
        assert 2.0 < estimator.range()[1] < 20.0
