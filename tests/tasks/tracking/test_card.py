"""A card that is longer than a description may be is cut between sections, and says where the rest is."""

from tasks.tracking.card import CARD_FILE, ROOM, description_of


def test_a_short_card_is_the_description():
    assert description_of("# A model\n\n## Data\n\nnone\n") == "# A model\n\n## Data\n\nnone\n"


def test_a_long_card_ends_before_a_section_that_has_no_room():
    first, second = f"# A model\n\n## Scores\n\n{'x' * 3000}", f"\n\n## Recipe\n\n{'y' * 3000}"
    described = description_of(first + second)
    assert described.startswith(first)
    assert "Recipe" not in described
    assert CARD_FILE in described
    assert len(described) <= ROOM


def test_no_section_makes_it_longer_than_its_room():
    crowded = "# A model" + "".join(f"\n\n## {number}\n\n{'z' * 90}" for number in range(60))
    assert ROOM - 200 < len(description_of(crowded)) <= ROOM
