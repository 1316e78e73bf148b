"""`get_or_compute`: a result is computed once, from unchanged inputs, and only with the stages that it needs."""

import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.sources import MotionFile
from data_contracts.store.folders import find_stage
from tasks.stage import Context, Pending, StageTask, get_or_compute


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path / "store", PipelineParameters(), tracked=False)


@pytest.fixture
def motion(tmp_path):
    path = tmp_path / "motion.npy"
    path.write_bytes(b"motion")
    return [MotionFile(path)]


@pytest.fixture
def calls():
    return []


@pytest.fixture
def ingest(calls):
    return StageTask("ingest", lambda stage, tracked, parameters, source: calls.append("ingest"))


def test_a_result_is_computed_once(context, motion, calls, ingest):
    first = get_or_compute(ingest, {"source": motion}, context)
    again = get_or_compute(ingest, {"source": motion}, context)
    assert (first.cached, again.cached) == (False, True)
    assert first.digest == again.digest
    assert calls == ["ingest"]


def test_a_pending_input_is_computed_only_if_the_result_is_absent(context, motion, calls, ingest):
    clips = Pending(ingest, {"source": motion})
    convert = StageTask("convert", lambda stage, tracked, parameters, clips: calls.append(clips))
    first = get_or_compute(convert, {"clips": clips}, context)
    folder = get_or_compute(ingest, {"source": motion}, context).path
    assert calls == ["ingest", folder]
    assert get_or_compute(convert, {"clips": clips}, context).cached
    assert get_or_compute(convert, {"clips": folder}, context).folder == first.folder
    assert calls == ["ingest", folder]


def test_a_file_that_changes_while_it_is_read_leaves_no_result(context, motion):
    ingest = StageTask("ingest", lambda stage, tracked, parameters, source: motion[0].path.write_bytes(b"other"))
    key = ingest.key({"source": motion}, context)
    with pytest.raises(InputError, match="motion: source changed while it was read"):
        get_or_compute(ingest, {"source": motion}, context)
    assert find_stage(context.store, key) is None


def test_another_digest_than_the_expected_one_is_refused_before_the_work(context, motion, calls, ingest):
    with pytest.raises(InputError, match="the pipeline run expects digest 0123456789abcdef"):
        get_or_compute(ingest, {"source": motion}, context, expected="0123456789abcdef")
    assert calls == []


def test_only_an_absent_result_is_computed_elsewhere(context, motion, calls, ingest):
    here = get_or_compute(ingest, {"source": motion}, context)
    assert get_or_compute(ingest, {"source": motion}, context, elsewhere=pytest.fail).digest == here.digest
    other = Context(context.store / "other", context.parameters, tracked=False)
    assert get_or_compute(ingest, {"source": motion}, other, elsewhere=lambda key: here) == here
    assert calls == ["ingest"]
