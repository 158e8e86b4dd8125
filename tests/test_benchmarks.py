"""The GPU script must not wait for a GPU to show that it is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent / "benchmarks" / "gpu.py"


@pytest.mark.slow
@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bf16 on this CPU")
def test_the_gpu_script_checks_and_times_a_cpu() -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", "--size", "64x96", "--repeats", "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "shipped weights, fused bf16" in run.stdout and "training step" in run.stdout
