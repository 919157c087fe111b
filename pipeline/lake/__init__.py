"""The lake: layout, commits, orphans, tombstones, file set, versions, compaction, checks."""
