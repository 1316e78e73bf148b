"""Damaged benchmark files are imported or refused; `benchmarks.fuzz_readers` tests many more."""

import random

import pytest

from tests.tasks.benchmarks.mutants import import_mutant, mutant_file, write_targets


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_mutant_is_imported_or_refused(tmp_path):
    generator, targets = random.Random(3), write_targets(tmp_path)
    assert {import_mutant(benchmark, root) for benchmark, root, _ in targets} == {"imported"}
    corpus = [file.read_bytes() for *_, file in targets]
    outcomes = set()
    for _ in range(120):
        benchmark, root, file = generator.choice(targets)
        valid = file.read_bytes()
        file.write_bytes(mutant_file(generator, valid, corpus))
        outcomes.add(import_mutant(benchmark, root))
        file.write_bytes(valid)
    assert outcomes == {"imported", "refused"}
