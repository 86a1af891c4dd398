from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from jdn_core.detector.convolution import SafeConv2d
from jdn_core.pool.elastic_ops import ElasticConv2d

_TRAINED = """
import torch
from jdn_core.detector.convolution import SafeConv2d
conv = SafeConv2d({inputs}, 16, 1, 2, bias=False).to(memory_format=torch.channels_last)
x = torch.rand(4, {inputs}, 96, 128).contiguous(memory_format=torch.channels_last).requires_grad_()
for _ in range(3):
    conv(x).sum().backward()
print("done")
"""


@pytest.mark.parametrize("inputs", [4, 8, 15])
def test_training_a_narrow_strided_convolution_does_not_break_the_process(inputs: int) -> None:
    command = [sys.executable, "-c", _TRAINED.format(inputs=inputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize(("inputs", "kernel", "stride"), [(8, 1, 2), (16, 1, 2), (8, 3, 2), (8, 1, 1)])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_it_computes_what_torchs_does(inputs: int, kernel: int, stride: int, size: tuple[int, int]) -> None:
    ours = SafeConv2d(inputs, 12, kernel, stride, padding=kernel // 2)
    theirs = nn.Conv2d(inputs, 12, kernel, stride, padding=kernel // 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, inputs, *size)
    with torch.no_grad():
        assert_close(ours(x), theirs(x))
        assert_close(ElasticConv2d.of(ours)(x), theirs(x))
