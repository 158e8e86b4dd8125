"""``NAME.scores.jsonl``: the scores of each pair while an evaluation runs, so that a rerun goes on with them.

It lies in sight beside the summary, for it may be hours of work, and goes when the summary is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from model.evaluation.baselines import BASELINES
from model.evaluation.scoring import EvaluateConfig, PairScores, pair_digest
from pipeline.files import (
    InputError,
    canonical_json,
    errors_name,
    make_folder,
    parse_json,
    sha256_text,
    write_bytes,
)
from pipeline.runtime.versions import installed_versions

#: What a line means. Raise it when this program scores otherwise than before.
_LINE_VERSION = 2
#: What computes scores; another version may give others.
_PACKAGES = ("gifnet", "numpy", "opencv-python-headless", "scikit-image", "scipy")
_BEGINNING = b'{"scored_with": "'


class ScoreLog:
    """Log of one evaluation.

    Each line is an object with ``scored_with`` (digest of all that decides on scores but the files),
    ``image``, ``files`` (:func:`model.evaluation.scoring.pair_digest`) and ``rows``. A line counts for the
    same settings and the same files alone; the others do no harm.

    Raises:
        InputError: the file is there and is no such log.
    """

    def __init__(self, path: Path, config: EvaluateConfig, methods: Sequence[str]) -> None:
        settings = {key: value for key, value in asdict(config).items() if key != "jobs"}
        meant = [_LINE_VERSION, installed_versions(_PACKAGES), settings, list(methods)]
        self._path, self._scored_with = path, sha256_text(canonical_json(meant))[:16]
        self._known: dict[tuple[str, str], PairScores] = {}
        if not path.exists():
            return
        data = path.read_bytes()
        if data and not data.startswith(_BEGINNING):
            raise InputError(f"{path}: is there, and not of an evaluation; choose another -o")
        *lines, cut = data.split(b"\n")
        if cut:  # a kill leaves a last line without its end
            write_bytes(path, data.removesuffix(cut))
        for line in lines:
            # Of a damaged line the pair is scored again.
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                record = parse_json(line)
                if record.pop("scored_with") == self._scored_with:
                    scored = PairScores(**record)
                    if _is_whole(scored, [*methods, *BASELINES]):
                        self._known[scored.image, scored.files] = scored

    def scored(self, paths: Mapping[str, Mapping[str, Path]]) -> dict[str, PairScores]:
        """Those of ``paths`` (image -> role -> file) that need not be scored, by image."""
        if not self._known:
            return {}
        keys = ((image, pair_digest(files)) for image, files in paths.items())
        return {key[0]: self._known[key] for key in keys if key in self._known}

    def append(self, scored: PairScores) -> None:
        """Keep the scores of one pair."""
        line = json.dumps({"scored_with": self._scored_with, **asdict(scored)}) + "\n"
        make_folder(self._path.parent)
        with errors_name(self._path), open(self._path, "ab") as file:
            file.write(line.encode())

    def remove(self) -> None:
        """The summary holds all of it now; what an evaluation with other settings has kept stays."""
        if not self._path.exists():
            return
        own = _BEGINNING + self._scored_with.encode()
        lines = self._path.read_bytes().splitlines(keepends=True)
        if others := [line for line in lines if not line.startswith(own)]:
            write_bytes(self._path, b"".join(others))
        else:
            self._path.unlink()


def _is_whole(scored: PairScores, methods: Sequence[str]) -> bool:
    """Whether there is a row of numbers, of the same metrics, for each method."""
    named = {"image", "method"}
    return [row["method"] for row in scored.rows] == methods and all(
        row.keys() == scored.rows[0].keys() and all(isinstance(row[key], float) for key in row.keys() - named)
        for row in scored.rows
    )
