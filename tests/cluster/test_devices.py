"""Processes for each of some devices: as the user names them, and what they say when they die."""

import subprocess
import sys

import pytest

from ssrl_pipeline.cluster.devices import parse_devices
from ssrl_pipeline.errors import ConfigError, PipelineError


def test_a_process_without_memory_says_so_in_one_line() -> None:
    code = """if True:
        from ssrl_pipeline.cluster import device_worker

        def without_memory(post):
            raise RuntimeError("CUDA error: out of memory\\nmore")

        device_worker._hear = lambda: (without_memory, "cpu", 1, False)
        device_worker.main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "out of memory (CUDA error: out of memory)\n"


def test_devices_as_the_user_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_devices("2", "cpu") == ["cpu", "cpu"]
    assert parse_devices("cpu, cpu,cpu") == ["cpu"] * 3
    with pytest.raises(PipelineError, match="'cuda:98' is missing"):
        parse_devices("cpu,cuda:98")
    for text, device in (("0", "cpu"), ("cpu,tpu", "auto"), ("two", "auto"), ("cpu", "cpu"), ("-1", "cpu")):
        with pytest.raises(ConfigError):
            parse_devices(text, device)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert parse_devices("2") == ["cuda:0", "cuda:1"]
    with pytest.raises(PipelineError, match="'cuda:2' is missing"):
        parse_devices("3")
    with pytest.raises(ConfigError, match="a GPU of its own"):
        parse_devices("2", "cuda:1")
