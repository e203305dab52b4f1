from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from morphe_core.errors import TrainingError
from morphe_core.training.losses import (
    boundary_loss,
    codec_loss,
    flow_loss,
    pixel_loss,
    trusted,
    warp,
)


def picture(seed: int = 1, size: int = 64, smooth: float = 2.0) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(size, size))
    values = gaussian_filter(values, smooth, mode="wrap")
    return torch.from_numpy(128 + 40 * values / values.std()).float()[None, None]


def constant_flow(x: float, y: float, size: int = 64) -> Tensor:
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, size, size)


def rolled(one: Tensor, x: int, y: int) -> Tensor:
    return torch.roll(one, (y, x), (2, 3))


class TestPixelLoss:
    def test_is_the_mean_absolute_difference(self) -> None:
        assert pixel_loss(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0])).item() == 2.0

    def test_refuses_to_broadcast(self) -> None:
        with pytest.raises(TrainingError, match="not the same size"):
            pixel_loss(torch.zeros(2, 1), torch.zeros(1, 2))


class TestBoundaryLoss:
    def test_compares_the_first_with_the_last_pictures_in_order(self) -> None:
        previous = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 4, 4)
        current = torch.arange(10.0, 14.0).view(1, 4, 1, 1).expand(1, 4, 4, 4)
        # 10 with 3 and 11 with 4.
        assert boundary_loss(current, previous, 2).item() == 7.0
        assert boundary_loss(previous[:, -2:], previous, 2).item() == 0.0

    def test_pulls_on_the_boundary_alone(self) -> None:
        previous = torch.zeros(1, 9, 4, 4, requires_grad=True)
        current = torch.ones(1, 9, 4, 4, requires_grad=True)
        boundary_loss(current, previous, 3).backward()
        assert current.grad is not None
        assert previous.grad is not None
        assert (current.grad[:, :3] > 0).all()
        assert (previous.grad[:, -3:] < 0).all()
        assert current.grad[:, 3:].abs().max() == 0
        assert previous.grad[:, :-3].abs().max() == 0

    def test_gops_can_be_weighed(self) -> None:
        current = torch.tensor([3.0, 8.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
        weights = torch.tensor([1.0, 0.5])
        loss = boundary_loss(current, torch.zeros(2, 3, 4, 4), 2, weights=weights)
        assert loss.item() == pytest.approx((3 + 0.5 * 8) / 2)

    @pytest.mark.parametrize("frames", [0, 5, -1])
    def test_frames_beyond_the_gops_are_refused(self, frames: int) -> None:
        with pytest.raises(TrainingError, match=rf"frames {frames}: allowed are 1\.\.4"):
            boundary_loss(torch.zeros(1, 4, 8, 8), torch.zeros(1, 9, 8, 8), frames)

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(TrainingError, match=r"\(N, T, H, W\)"):
            boundary_loss(torch.zeros(4, 8, 8), torch.zeros(4, 8, 8), 1)


class TestWarp:
    def test_agrees_with_scipy(self) -> None:
        one = picture(size=48)
        flow = torch.from_numpy(np.random.default_rng(2).normal(0, 3, (1, 2, 48, 48))).float()
        down, across = np.mgrid[:48, :48].astype(float)
        expected = map_coordinates(
            one[0, 0].double().numpy(),
            [down + flow[0, 1].numpy(), across + flow[0, 0].numpy()],
            order=1,
            mode="nearest",
        )
        np.testing.assert_allclose(warp(one, flow)[0, 0], expected, atol=0.02)

    @given(x=st.integers(-5, 5), y=st.integers(-5, 5))
    def test_whole_pixels_are_moved_exactly(self, x: int, y: int) -> None:
        """Content that came from x pixels to the left has a flow of -x."""
        one = picture()
        moved = warp(one, constant_flow(-x, -y))
        inner = (..., slice(6, -6), slice(6, -6))
        torch.testing.assert_close(moved[inner], rolled(one, x, y)[inner], atol=0.05, rtol=0)

    def test_flow_of_another_size_is_refused(self) -> None:
        with pytest.raises(TrainingError, match=r"flow \(1, 2, 4, 8\): allowed is \(1, 2, 8, 8\)"):
            warp(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 4, 8))


class TestFlowLoss:
    def test_true_motion_is_free(self) -> None:
        before, now = picture(), rolled(picture(), 4, -2)
        assert flow_loss((before, now), (before, now), constant_flow(-4, 2)).item() < 0.05

    def test_standing_still_under_motion_and_flicker_cost(self) -> None:
        before, now = picture(), rolled(picture(), 4, -2)
        flow = constant_flow(-4, 2)
        assert flow_loss((before, before), (before, now), flow).item() > 10
        assert flow_loss((before, now + 5), (before, now), flow).item() == pytest.approx(5, abs=0.1)

    def test_places_where_the_source_jumps_do_not_count(self) -> None:
        before = picture()
        now = before.clone()
        now[..., 20:40, 20:40] = 250
        flow = constant_flow(0, 0)
        hidden = trusted(before, now, flow)
        assert hidden[..., 22:38, 22:38].max() == 0
        assert hidden[..., :18, :].min() == 1
        flicker = now.clone()
        flicker[..., 22:38, 22:38] -= 100
        assert flow_loss((before, flicker), (before, now), flow).item() < 0.5
        flicker[..., :10, :10] -= 100
        assert flow_loss((before, flicker), (before, now), flow).item() > 1

    def test_what_comes_from_outside_does_not_count(self) -> None:
        flat = torch.full((1, 1, 32, 32), 90.0)
        counts = trusted(flat, flat, constant_flow(-8, 0, 32))
        assert counts[..., :8].max() == 0
        assert counts[..., 8:].min() == 1

    def test_nothing_to_trust_gives_zero(self) -> None:
        before, now = torch.zeros(1, 1, 32, 32), torch.full((1, 1, 32, 32), 255.0)
        made = torch.rand(1, 1, 32, 32, requires_grad=True)
        loss = flow_loss((made, made), (before, now), constant_flow(0, 0, 32))
        loss.backward()
        assert loss.item() == 0.0

    def test_relative_form_is_zero_for_the_source_itself(self) -> None:
        noise = torch.from_numpy(np.random.default_rng(3).normal(0, 3, (1, 1, 64, 64))).float()
        before, now = picture(), rolled(picture(), 2, 0) + noise
        flow = constant_flow(-2, 0)
        assert flow_loss((before, now), (before, now), flow).item() > 1
        assert flow_loss((before, now), (before, now), flow, relative=True).item() < 1e-4
        assert flow_loss((before, now + 4), (before, now), flow, relative=True).item() > 3

    def test_pictures_can_be_weighed(self) -> None:
        flat = torch.full((2, 1, 32, 32), 90.0)
        now = flat + torch.tensor([3.0, 8.0]).view(2, 1, 1, 1)
        flow = constant_flow(0, 0, 32).expand(2, 2, 32, 32)
        loss = flow_loss((flat, now), (flat, flat), flow, weights=torch.tensor([1.0, 0.5]))
        assert loss.item() == pytest.approx((3 + 0.5 * 8) / 2)

    def test_gradients_reach_both_reconstructions_and_no_source(self) -> None:
        made = [(picture(n) + 3).requires_grad_() for n in (1, 2)]
        source = [picture(1).requires_grad_() for _ in range(2)]
        flow_loss((made[0], made[1]), (source[0], source[1]), constant_flow(0.5, 0)).backward()
        for one in made:
            assert one.grad is not None
            assert one.grad.abs().sum() > 0
        assert all(one.grad is None for one in source)

    def test_mixed_sizes_are_refused(self) -> None:
        one, other = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 16)
        with pytest.raises(TrainingError, match="not the same size"):
            flow_loss((one, one), (one, other), constant_flow(0, 0, 32))


class TestCodecLoss:
    def test_is_the_papers_mixture(self) -> None:
        pixel, flow = torch.tensor(10.0), torch.tensor(5.0)
        assert codec_loss(pixel, flow).item() == pytest.approx(9.0)
        assert codec_loss(pixel, flow, alpha=0.0).item() == 5.0

    def test_alpha_beyond_its_range_is_refused(self) -> None:
        with pytest.raises(TrainingError, match=r"alpha 1\.2: allowed are 0\.\.1"):
            codec_loss(torch.tensor(1.0), torch.tensor(1.0), alpha=1.2)
