"""Text helpers that every package uses."""

from __future__ import annotations

import pytest

from pipeline.text import nearest


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [("image_agee", "image_age"), ("imagse", "images"), ("images", "images"), ("x", None), ("", None)],
)
def test_a_misspelled_name_is_matched_with_the_most_similar_one_or_with_none(word, suggestion):
    assert nearest(word, iter(["images", "image_age", "capacity_by_region"])) == suggestion
