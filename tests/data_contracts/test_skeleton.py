from data_contracts.skeleton import BONES, JOINTS, LEFT_JOINTS, MIRROR, NUM_JOINTS, RIGHT_JOINTS


def test_bones_make_a_tree_from_the_pelvis_outward():
    reached = {0}
    for parent, child in BONES:
        assert parent in reached
        assert child not in reached
        reached.add(child)
    assert reached == set(range(NUM_JOINTS))


def test_mirroring_twice_is_identity_and_exchanges_left_and_right():
    assert [MIRROR[MIRROR[j]] for j in range(NUM_JOINTS)] == list(range(NUM_JOINTS))
    assert [MIRROR[j] for j in LEFT_JOINTS] == list(RIGHT_JOINTS)
    for joint, mirrored in enumerate(MIRROR):
        assert JOINTS[mirrored].removeprefix("left_").removeprefix("right_") == JOINTS[joint].split("_", 1)[-1]
