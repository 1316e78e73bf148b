"""A model card that is too long for a description is cut between sections, with the name of the complete file."""

from tasks.tracking.card import CARD_FILE, MAX_CHARACTERS, description_of


def test_a_short_card_is_the_description():
    assert description_of("# A model\n\n## Data\n\nnone\n") == "# A model\n\n## Data\n\nnone\n"


def test_a_long_card_ends_before_the_first_section_that_does_not_fit():
    first, second = f"# A model\n\n## Scores\n\n{'x' * 3000}", f"\n\n## Recipe\n\n{'y' * 3000}"
    described = description_of(first + second)
    assert described.startswith(first)
    assert "Recipe" not in described
    assert CARD_FILE in described
    assert len(described) <= MAX_CHARACTERS


def test_a_description_is_never_longer_than_the_limit():
    crowded = "# A model" + "".join(f"\n\n## {number}\n\n{'z' * 90}" for number in range(60))
    assert MAX_CHARACTERS - 200 < len(description_of(crowded)) <= MAX_CHARACTERS
