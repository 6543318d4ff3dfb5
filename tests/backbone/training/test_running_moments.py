import pytest
import torch

from backbone.training.running_moments import RunningMoments


def test_running_moments_are_those_of_all_that_came_before() -> None:
    batches = [torch.tensor([1.0, 3.0]), torch.tensor([5.0]), torch.tensor([-2.0, 0.0, 1e6])]
    moments = RunningMoments()
    assert moments.std == 0.0
    for batch in batches:
        moments = moments.after(batch)
    everything = torch.cat(batches).double()
    assert moments.count == 6
    assert moments.mean == pytest.approx(float(everything.mean()))
    assert moments.std == pytest.approx(float(everything.std(correction=0)))


def test_moments_depend_on_the_values_and_not_on_the_steps_that_they_came_in() -> None:
    values = 3 + torch.randn(256, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (1, 8, 256):
        moments = RunningMoments()
        for batch in values.split(size):
            moments = moments.after(batch)
        found.append((moments.mean, moments.std, moments.count))
    assert found == [pytest.approx(found[0])] * 3


def test_values_are_normalised_by_moments() -> None:
    moments = RunningMoments().after(torch.tensor([1.0, 5.0]))
    torch.testing.assert_close(moments.normalised(torch.tensor([3.0, 7.0])), torch.tensor([0.0, 2.0]))
    level = RunningMoments().after(torch.tensor([4.0, 4.0]))
    assert level.normalised(torch.tensor([4.0])).tolist() == [0.0]


def test_a_list_is_counted_in_as_a_tensor_is() -> None:
    listed = RunningMoments().after([1.0, 5.0]).after([]).after([9.0])
    tensors = RunningMoments().after(torch.tensor([1.0, 5.0])).after(torch.tensor([9.0]))
    assert listed == tensors
    assert listed.count == 3
    assert listed.z_score(9.0) == pytest.approx(1.5**0.5)
    assert RunningMoments().after([4.0, 4.0]).z_score(5.0) == 0.0
