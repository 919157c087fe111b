"""The folders hold what the views give, through any history. Many histories: `python tests/harness/folders.py`."""

import pytest
from folders import compare


@pytest.mark.parametrize("seed", [1, 2])
def test_every_engine_reads_from_the_folders_what_the_views_give(seed):
    assert compare(seed, steps=8) == []
