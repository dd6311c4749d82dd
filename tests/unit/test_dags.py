"""The example DAGs import cleanly: no warning, no error, and nothing heavy for a DAG file."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_dag_imports_without_a_warning(file: Path) -> None:
    bag = DagBag(file)
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert list(bag.dags) == [file.stem]
    assert bag.dags[file.stem].doc_md or file.read_text().startswith('"""')
