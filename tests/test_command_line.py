"""What all commands have in common: how they stop, which names they refuse, what an encoding lacks."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import Result
from command_runs import REPOSITORY, run

from pipeline.commands.options import PART, SIZE, TwoNumbers
from pipeline.files import InputError, atomic_path
from pipeline.synthesis.synthesise import SynthesisSummary


@pytest.mark.parametrize(
    ("kind", "text", "numbers"),
    [(SIZE, "480x640", (480, 640)), (SIZE, "480X640", (480, 640)), (PART, "3/8", (3, 8))],
)
def test_two_numbers_in_one_word(kind: TwoNumbers, text: str, numbers: tuple[int, int]) -> None:
    assert kind.convert(text, None, None) == kind.convert(numbers, None, None) == numbers
    for bad in (f"{text}px", f"-{text}", "8", "", "9" * 5000 + text):
        with pytest.raises(click.BadParameter, match=r"is not a .*; give"):
            kind.convert(bad, None, None)


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("after step 3; go on with --resume")

    monkeypatch.setattr("model.trainer.train", stopped)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert result.stderr.strip() == "stopped: after step 3; go on with --resume"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--foo"], "--foo"),
        (["nope"], "nope"),
        (["weights", "nope"], "nope"),
        (["fuse"], "--out"),
        (["synth", "recipe", "-o", "out", "--jobs", "two"], "two"),
        (["demo", "extra"], "extra"),
    ],
    ids=str,
)
def test_wrong_arguments_are_one_line(arguments: list[str], told: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and told in line and line.endswith("--help")


@pytest.mark.parametrize(
    ("given", "then"),
    [({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")],
    ids=str,
)
def test_idle_threads_sleep_unless_the_user_decides(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], then: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # which is put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert run("--help").exit_code == 0
    assert os.environ.get("GOMP_SPINCOUNT") == then


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams_stop_nothing(tmp_path: Path, closed: str) -> None:
    command = shlex.join([sys.executable, str(REPOSITORY / "cli.py"), "sample", str(tmp_path)])
    line = f"{command} --pairs 1 --size 64x96 {closed}"
    assert subprocess.run(["sh", "-c", line]).returncode == 0
    assert (tmp_path / "manifest.toml").is_file()


def test_a_file_that_ends_too_early_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ended(*_: object, **__: object) -> None:
        raise EOFError("No data left in file")

    monkeypatch.setattr("model.trainer.train", ended)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.strip().endswith("a file ends too early (No data left in file); make it again")


def test_controls_in_names_that_the_system_tells_of_are_escaped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a\n\x1b[31mb")

    monkeypatch.setattr("model.trainer.train", refused)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr == "error: a\\n\\x1b[31mb: Permission denied\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=repr,
)
def test_memory_that_does_not_suffice_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("model.trainer.train", greedy)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "train: needs more memory than is free" in result.stderr and str(error) in result.stderr


def test_another_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("model.trainer.train", broken)
    assert isinstance(run("train", tmp_path, "-o", tmp_path / "run").exception, RuntimeError)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "", "--pairs", 1),
        ("fuse", "-a", "", "-o", "out"),
        ("fuse", "-a", "a", "-o", ""),
        ("evaluate", "-a", "a", "-b", "b", "-f", "m=c", "-o", ""),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_a_path_without_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2 and "the name is empty; give one" in result.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("synth",), ("weights", "train-probe")], ids=" ".join)
def test_a_folder_with_the_name_of_a_recipe_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mefb").mkdir()
    result = run(*command, "mefb", "--root", "mefb", "-o", "out.safetensors")
    assert result.exit_code == 2 and result.stderr.startswith("error: "), result.stderr
    assert "mefb.toml" in result.stderr, "the recipe was read"


def test_output_that_an_encoding_lacks_is_escaped() -> None:
    command = [sys.executable, "cli.py", "inspect", os.fsdecode(b"caf\xe9")]
    for encoding in ("utf-8:strict", "cp1252"):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, env=environment, check=False)
        said = b"error: dataset caf\\udce9 does not exist"
        assert result.returncode == 2 and said in result.stderr, result.stderr


def _chain(monkeypatch: pytest.MonkeyPatch, outcome: SynthesisSummary | BaseException) -> Result:
    """The training of the shipped weights where each synthesis ends so and nothing else computes."""

    def synthesise(*_: object, **__: object) -> SynthesisSummary:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("pipeline.synthesis.synthesise.synthesise", synthesise)
    monkeypatch.setattr("model.trainer.train", lambda _, __, out, **___: out / "weights.safetensors")
    monkeypatch.setattr("model.checkpoint.load_with_facts", lambda _: (None, {}))
    monkeypatch.setattr("model.checkpoint.save_weights", lambda *_, **__: Path("gifnet.safetensors"))
    monkeypatch.setattr("model.commands.weights.sha256_file", lambda _: "0")
    Path("data/llvip").mkdir(parents=True)
    return run("weights", "train-fusion", "data", "-o", "out", "--device", "cpu")


def test_a_chain_goes_on_with_a_dataset_that_lacks_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    summary = SynthesisSummary(
        index=None, seen=2, written=1, skipped=1, failed=0, problems=("skipped 7: no infrared",), seconds={}
    )
    result = _chain(monkeypatch, summary)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("some frames were skipped or failed; going on") == 1
    assert result.stdout.count("$ gifnet") == 3 and "gifnet.safetensors" in result.stdout


@pytest.mark.parametrize(("count", "finished"), [(11, True), (144, True), (144, False)])
def test_many_skipped_frames_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, finished: bool
) -> None:
    if finished:
        (tmp_path / "index.json").touch()
    problems = tuple(f"skipped {number}: no infrared" for number in range(count))
    summary = SynthesisSummary(
        index=None, seen=count, written=0, skipped=count, failed=0, problems=problems, seconds={}
    )
    monkeypatch.setattr("pipeline.synthesis.synthesise.synthesise", lambda *_, **__: summary)
    told = run("synth", "llvip", "-o", str(tmp_path)).stderr.splitlines()
    if count == 11:  # a line that counts one would save none
        assert told == list(problems)
    else:
        where = f", all in {tmp_path / 'failures.jsonl'}" if finished else ""
        assert told == [*problems[:10], f"and 134 more{where}"]


@pytest.mark.parametrize(
    ("outcome", "status", "says"),
    [(InputError("llvip: damaged"), 2, "error: llvip: damaged"), (KeyboardInterrupt(), 1, "stopped")],
)
def test_a_chain_stops_where_a_dataset_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: BaseException, status: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = _chain(monkeypatch, outcome)
    assert result.exit_code == status and result.stderr.splitlines()[-1] == says
    assert result.stdout.count("$ gifnet") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("synth", "llvip", "--depth", "files:maps", "--no-refine"), "--refine/--no-refine: has no effect"),
        (("synth", "llvip", "--exposure", "camera-response", "--probe", "default"), "--probe: has no effect"),
        (
            ("synth", "llvip", "--exposure", "camera-response", "--full-well-e", "0", "--read-noise-e", "9"),
            "--read-noise-e: has no effect with --full-well-e 0",
        ),
        (("train", "set", "--validation-share", "0", "--validate-every", "5"), "--validate-every: has no"),
        (("train", "set", "--validation-share", "0", "--picture-every", "1000"), "--picture-every: has no"),
        (("weights", "train-depth", "--base", "x", "--steps", "4000"), "--steps: has no effect with --base"),
        (
            ("weights", "train-depth", "--infrared-steps", "0", "--infrared-scenes", "9"),
            "--infrared-scenes: has no effect with --infrared-steps 0",
        ),
    ],
    ids=str,
)
def test_options_that_would_do_nothing_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = run(*arguments, "-o", tmp_path / "out.safetensors")
    assert result.exit_code == 2 and says in result.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=str)
def test_signals_that_end_clean_up_like_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    def killed(*_: object, **__: object) -> None:
        with atomic_path(tmp_path / "result") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), number)
            signal.pause()

    before = signal.getsignal(number)
    monkeypatch.setattr("model.trainer.train", killed)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert (result.exit_code, result.stderr.strip()) == (1, "stopped")
    assert not any(tmp_path.iterdir()) and signal.getsignal(number) is before


def test_what_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("model.trainer.train", lambda *_, **__: signal.raise_signal(signal.SIGHUP) or "done")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("train", tmp_path, "-o", tmp_path / "run").stdout == "done\n"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_errors_of_the_system_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("model.trainer.train", full)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2 and result.stderr.strip().endswith(" train: No space left on device")
