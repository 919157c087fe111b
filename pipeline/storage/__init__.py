"""Files in a local folder or objects in a bucket, behind one interface.

Modules:

    store.py               Store, the interface; open_location, store_of
    folder.py              FolderStore: fsync, rename; files written for a user
    file_lock.py           one writer at a time: the lock of a folder
    mounts.py              mounted file systems, and their types
    bucket.py              BucketStore: list, GET, PUT if absent
    bucket_path.py         BucketPath: the path of an object, or the prefix of several
    object_file.py         an object as a file: range requests, the footer kept
    conditional_put.py     check that a service refuses to overwrite
    configuration.py       endpoint, region and credentials of a bucket; its errors in our words
    duckdb_filesystem.py   objects as DuckDB reads them
    staging.py             a temporary folder of this process, for objects that are not put yet
    digest.py              size and SHA-256 of a committed file; files that hold their own
    partitions.py          the files of a table, by day; which formats are read
"""
