"""The example DAGs import cleanly: no warning, no error, and nothing heavy for a DAG file."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_dag_imports_without_a_warning(file: Path) -> None:
    # The suite turns warnings into errors, deprecated imports among them; the bag would report them as import errors.
    bag = DagBag(file, include_examples=False)
    assert bag.import_errors == {}
    assert list(bag.dags) == [file.stem]
    assert bag.dags[file.stem].doc_md or file.read_text().startswith('"""')
