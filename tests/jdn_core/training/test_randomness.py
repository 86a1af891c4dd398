"""Streams: the same name gives the same draws, whatever was drawn before."""

import torch

from jdn_core.training.randomness import Stream


def test_a_stream_is_decided_by_its_path_alone() -> None:
    first = Stream((3,)).child("pair", 7).generator()
    torch.rand(5)
    second = Stream((3, "pair", 7)).generator()
    assert torch.equal(torch.rand(8, generator=first), torch.rand(8, generator=second))


def test_streams_of_other_names_differ() -> None:
    seeds = {
        Stream((seed, *path)).seed for seed in (0, 1) for path in (("a",), ("a", 1), ("a", "1"), (1, "a"))
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeding_torch_repeats_its_draws() -> None:
    Stream((0, "step", 4)).seed_torch()
    first = torch.randperm(20)
    Stream((0, "step", 4)).seed_torch()
    assert torch.equal(first, torch.randperm(20))
