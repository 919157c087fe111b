"""Every engine gives the numbers of the views, in every state of a lake. With Spark, and as a page: `make engines`."""

import pytest
from engines import WAYS, answers, compare, questions, readers
from lake_states import states

from pipeline.jobs import run as run_job
from pipeline.resources.tables import RESOURCES

HERE = readers(with_spark=False)
ALL = [(way, engine) for way, engines in WAYS.items() for engine in engines if engine != "pyspark"]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory):
    """A small lake in every state, of every resource."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_job, "RESOURCES", RESOURCES)
        patched.delenv("ENS_IMAGES_RESOURCE")
        return list(states(tmp_path_factory.mktemp("engines"), days=3, images=12))


@pytest.fixture(scope="module")
def right(lakes):
    """The answers by the views."""
    return answers(lakes, questions(lakes[0].data))


@pytest.mark.parametrize(("way", "engine"), ALL, ids=[f"{way}-{engine}" for way, engine in ALL])
def test_every_engine_gives_the_numbers_of_the_views_in_every_state_of_a_lake(lakes, right, way, engine):
    if (way, engine) not in HERE:
        pytest.skip(f"{engine} is not installed: `make engines` installs it")
    looked_at = lakes if engine != "views" else [lake for lake in lakes if lake.name in {"retained", "withdrawn"}]
    found = list(compare(looked_at, questions(lakes[0].data), {(way, engine): HERE[way, engine]}, right))

    assert [str(one) for one in found if not one.is_equal] == []
    assert len(found) == 7 * len(looked_at)
