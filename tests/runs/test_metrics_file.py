"""The file of metrics: its length is what the disk says, whatever was cut off before."""

from pathlib import Path

import pytest

from quickstudy.runs.metrics_file import MetricsFile, read_metrics


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_the_length_after_cutting_back_is_that_of_the_file(tmp_path: Path, kept: int) -> None:
    file = MetricsFile(tmp_path)
    lengths = [file.flush()]
    for step in (1, 2, 3):
        file.write({"step": step})
        lengths.append(file.flush())
    file.close()
    assert lengths == [0, 12, 24, 36]

    again = MetricsFile(tmp_path, keep=lengths[kept])
    assert again.flush() == again.path.stat().st_size == lengths[kept]
    again.write({"step": 9})
    assert again.flush() == again.path.stat().st_size == lengths[kept] + 12
    again.close()
    assert [line["step"] for line in read_metrics(tmp_path)] == [*range(1, kept + 1), 9]


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"ste')
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
