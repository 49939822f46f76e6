"""What arrives in another process is what was sent, bit for bit, and nothing stays behind."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.data.replay import Replay
from quickstudy.work.parcel import ALIGNMENT, seal, unseal


def sent(value: Any, known: Any = None, there: Any = None) -> Any:
    parcel = seal(value, known)
    try:
        return unseal(parcel, there)
    finally:
        os.close(parcel)


TENSORS = {
    "a matrix": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "channels last": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    "a number": torch.tensor(3.5, dtype=torch.float64),
    "nothing": torch.empty(0, 4),
    "part of another": torch.arange(20.0).reshape(4, 5)[1:3],
    "every second column": torch.arange(20.0).reshape(4, 5)[:, ::2],
    "repeated": torch.arange(3).expand(4, 3),
    "flags": torch.tensor([True, False]),
    "halves": torch.arange(5, dtype=torch.bfloat16),
    "a weight": torch.arange(4.0).requires_grad_(),
    "a parameter": torch.nn.Parameter(torch.arange(4.0)),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_arrives_as_it_was(name: str):
    tensor = TENSORS[name]
    there = sent({"deep": [tensor]})["deep"][0]
    assert type(there) is type(tensor) and there.dtype == tensor.dtype and torch.equal(there, tensor)
    assert there.requires_grad == tensor.requires_grad and there.data_ptr() % ALIGNMENT == 0
    there.detach().add_(1) if there.dtype != torch.bool else there.logical_not_()  # it is the receiver's own


@pytest.mark.parametrize("name", ["a matrix", "transposed", "channels last", "part of another"])
def test_entries_keep_their_order_in_memory_since_a_product_may_round_by_it(name: str):
    assert sent(TENSORS[name]).stride() == TENSORS[name].stride()


def test_one_tensor_sent_twice_is_one_tensor_there():
    weight = torch.arange(3.0)
    one, other = sent((weight, [weight]))
    assert one is other[0]


def test_arrays_functions_and_classes_made_on_the_spot_arrive():
    class Local:
        value = 3

    array, call, local = sent((np.arange(5)[::2], lambda x: x + 1, Local()))
    assert array.tolist() == [0, 2, 4] and call(1) == 2 and local.value == 3


def test_skeletons_without_weights_arrive_without_weights():
    assert sent(torch.nn.Linear(2, 3, device="meta")).weight.device.type == "meta"


def test_what_the_other_end_has_already_is_not_sent():
    tasks, other = qs.tasks.make("bandit"), object()
    learner = qs.RL2(tasks, qs.RL2.Config(trials=8, hidden_size=8))
    assert sent(learner, tasks, other).tasks is other


def test_optimiser_and_replay_of_a_learner_stay_at_home():
    class Learner:
        def __init__(self):
            self.weight = torch.zeros(3, requires_grad=True)
            self.optimiser, self.replay = torch.optim.Adam([self.weight]), Replay(2, 10, 10)

        def adapt(self) -> torch.Tensor:
            return self.weight + 1

    adapt = sent(Learner().adapt)
    assert torch.equal(adapt(), torch.ones(3)) and adapt.__self__.optimiser is None and adapt.__self__.replay is None


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors as Linux lists them")
def test_no_descriptor_stays_open_while_what_arrived_is_kept():
    before = len(os.listdir("/proc/self/fd"))
    kept = [sent(torch.arange(1000.0)) for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before and len(kept) == 20
