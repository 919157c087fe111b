"""dlt: its `rest_api` source to Parquet files, set as its pages on performance advise.

    python tests/bench/peer_dlt.py URL FOLDER WORKERS

It signs nothing (it has no such signature), which is in its favour here. Its tables keep the service's text.
"""

import os
import sys
from pathlib import Path

os.environ.update(
    {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "CRITICAL",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
        "DATA_WRITER__FILE_MAX_ITEMS": "50000",  # several files, so that its normalizers can share the work
        "NORMALIZE__WORKERS": "2",
        "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
        "EXTRACT__DATA_WRITER__DISABLE_COMPRESSION": "true",
        "LOAD__WORKERS": "4",
        "LOAD__DELETE_COMPLETED_JOBS": "true",
    }
)

import dlt
from dlt.sources.rest_api import rest_api_source


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": "PageNumber",
                    "total_path": None,
                    "stop_after_empty_page": True,
                },
            },
            "resources": [
                {
                    "name": "images",
                    "endpoint": {"path": "/", "params": {"PageSize": 50}, "data_selector": "Images.Image"},
                    "write_disposition": "append",
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        pipeline_name="peer",
        pipelines_dir=str(folder / "work"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri()),
        dataset_name="lake",
    )
    pipeline.run(source, loader_file_format="parquet")


if __name__ == "__main__":
    main()
