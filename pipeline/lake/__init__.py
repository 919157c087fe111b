"""The lake: immutable Parquet files, and the commits that name them.

    write
      lock            one writer at a time
      publish         a landed run to the lake
        flatten_pool, prefetch    rows of the raw pages, on threads
      commit          all files of a run or of a compaction appear at once
      orphans         files that no commit names
        aged_orphans    those of a bucket, by their age
      replacements    files without withdrawn rows take the place of those with them
      delta_log       the committed files as Delta tables, for other engines
        delta_entries   those that hold exactly what is committed
      compaction/     daily copies become versions

    read
      committed       the files of committed runs
        file_set        those behind the tables, and a digest of them
        scan            the tables as SQL over these files
          versions        image_versions, as SQL
          latest          each account's latest observation
      tombstones      what was withdrawn or has expired
        tombstone_files   their files, numbered in a bucket
      withdrawn_files   files with withdrawn rows, outside the folders of the tables
      folder_days     the days in these folders, and those that have expired
      folder_schema   one schema a folder
      settled         months of which no file is listed
      state_object    what opening a lake in a bucket would find out by requests
      verification    whether a file is what was committed, before it is read
        verified_files  those that were verified before
      check/          every file, key, count and certificate
      foreign_files   files that are none of the lake

    layout, format    paths of the lake; its format and the upgrade of an older one

A module serves the module above it that is indented less.
"""
