"""Readers are never blocked and never block; the minutes of it are `make soak`."""

from soak import soak


def test_readers_see_whole_lakes_while_runs_publish_and_prunes_clear_away(tmp_path):
    result = soak(tmp_path, 3, seed=1, kill_every=2)

    assert result.wrong == []
    assert all(reader.count for reader in result.readers if reader.name != "writer")
