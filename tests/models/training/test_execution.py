"""How a run is executed changes nothing but rounding: micro-batches, memory, recomputing, compiling, optimizers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.training.execution import Execution, blocks_of, prepare_blocks
from models.training.flops import flops_a_clip
from models.training.loop import Watchers, train
from models.training.optimizers import OptimizerSettings, optimizers_of
from tests.models.training.toys import RANK_SETTINGS, Blocks, batch_at, make_blocks, noisy_square

SHORT = replace(RANK_SETTINGS, total_clips=24)


def weights(folder, execution=None, objective=noisy_square, notices=None, settings=SHORT):
    watchers = Watchers(notice=None if notices is None else notices.append)
    state = train(make_blocks(), objective, batch_at, settings, folder=folder, execution=execution, watchers=watchers)
    return state.network.state_dict()


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize("micro_clips", [1, 3, 7])
def test_the_micro_batch_changes_only_rounding(tmp_path, micro_clips):
    whole = weights(tmp_path / "whole")
    assert_close(weights(tmp_path / "parts", Execution(micro_clips=micro_clips)), whole, 1e-5)


def test_what_does_not_fit_is_halved_and_remembered(tmp_path):
    asked, notices = [], []

    def small_memory(network, batch, rngs):
        asked.append(len(batch["keys"]))
        if len(batch["keys"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return noisy_square(network, batch, rngs)

    found = weights(tmp_path / "small", objective=small_memory, notices=notices)
    assert_close(found, weights(tmp_path / "large"), 1e-5)
    assert asked == [1, 4, 2, *[1] * 24], "one clip to count by, then the whole batch, halves, and from then on singles"
    assert notices == [
        "out of memory with 4 clips at once; going on with 2",
        "out of memory with 2 clips at once; going on with 1",
    ]


def test_where_not_even_one_clip_fits_the_run_says_so(tmp_path):
    def no_memory(network, batch, rngs):
        if batch["keys"][0] == "1-0":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return noisy_square(network, batch, rngs)

    with pytest.raises(torch.OutOfMemoryError):
        weights(tmp_path, objective=no_memory)


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputing_changes_nothing(tmp_path, recompute):
    assert_close(weights(tmp_path / "less", Execution(recompute=recompute)), weights(tmp_path / "all"), 0)


@pytest.mark.slow
def test_compiled_blocks_come_to_the_same(tmp_path):
    execution = Execution(compile=True, recompute="selective")
    assert_close(weights(tmp_path / "compiled", execution), weights(tmp_path / "eager"), 1e-5)


def test_sizes_of_blocks_of_several_kinds_are_not_taken_for_ones_that_vary(monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda block, **how: asked.append(how))
    network = make_blocks()
    prepare_blocks(network, Execution(compile=True))
    assert {one["dynamic"] for one in asked} == {None}
    network.blocks.append(nn.Identity())
    asked.clear()
    prepare_blocks(network, Execution(compile=True))
    assert {one["dynamic"] for one in asked} == {False}


def test_blocks_are_found_wherever_they_are():
    network = nn.ModuleDict({"inner": Blocks(), "other": nn.Linear(1, 1)})
    assert list(blocks_of(network)) == list(network["inner"].blocks)


def test_the_work_of_a_clip_is_counted_as_on_paper():
    """Forward and both gradients of 2 m n operations a layer; the first layer's input needs no gradient."""
    batch = {name: value[:1] for name, value in batch_at(0).items()}
    batch["x"][0, 2] = 0.0  # then one layer is not used
    first, others = 3 * 8, 2 * (8 * 8 + 8 * 8) + 8 * 1
    expected = 2 * (2 * first + 3 * others)
    network = make_blocks()
    assert flops_a_clip(network, noisy_square, batch, seed=0) == expected
    assert all(parameter.grad is None for parameter in network.parameters())


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest():
    network = make_blocks()
    adamw, muon = optimizers_of(network, OptimizerSettings(name="muon"))
    inside = [parameter for parameter in network.blocks.parameters() if parameter.ndim == 2]
    assert {id(one) for group in muon.param_groups for one in group["params"]} == {id(one) for one in inside}
    rest = {id(one) for group in adamw.param_groups for one in group["params"]}
    assert rest == {id(one) for one in network.parameters()} - {id(one) for one in inside}
    assert [group["weight_decay"] for group in adamw.param_groups] == [1e-3, 0.0]


def test_a_run_with_muon_resumes_to_the_bit(tmp_path):
    settings = replace(SHORT, optimizer=OptimizerSettings(name="muon"))
    whole = weights(tmp_path / "whole", settings=settings)
    weights(tmp_path / "parts", settings=replace(settings, total_clips=12))
    assert_close(weights(tmp_path / "parts", settings=settings), whole, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Execution(micro_clips=0),
        lambda: Execution(recompute="some"),
        lambda: Execution(spread="wide"),
        lambda: Execution(loader_threads=0),
        lambda: OptimizerSettings(name="sgd"),
        lambda: OptimizerSettings(weight_decay=-1.0),
        lambda: OptimizerSettings(betas=(0.9, 1.0)),
    ],
)
def test_settings_out_of_range_say_the_value(make):
    with pytest.raises(ValueError, match=r"0|some|wide|sgd|-1|1\.0"):
        make()
