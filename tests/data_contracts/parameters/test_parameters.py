"""What a form of the parameters, as the Prefect UI makes it from their schema, says of each field."""

import pytest

from data_contracts.parameters import PipelineParameters

SCHEMA = PipelineParameters.model_json_schema()


def description(model: str, field: str) -> str:
    said: str = SCHEMA["$defs"][model]["properties"][field]["description"]
    return said


def test_every_field_says_what_it_is():
    fields = {
        f"{name}.{field}": {**SCHEMA["$defs"].get(about.get("$ref", "").rpartition("/")[2], {}), **about}
        for name, model in {**SCHEMA["$defs"], "": SCHEMA}.items()
        for field, about in model.get("properties", {}).items()
    }
    assert len(fields) > 150
    assert [field for field, about in fields.items() if about.get("description", "(")[0] == "("] == []


@pytest.mark.parametrize(
    ("model", "field", "end"),
    [
        ("SyntheticParameters", "seconds", "Length of a clip in seconds (above 1, at most 600)."),
        ("IngestParameters", "max_quarantined", "fails (0 to 1)."),
        ("PretrainParameters", "norm_learning_rate", "Default: learning_rate (above 0, at most 1)."),
        ("Runtime", "wait_minutes", "(above 0, at most 10,080)."),
        ("IngestParameters", "unit", "coordinates."),
    ],
)
def test_a_field_with_bounds_says_them(model: str, field: str, end: str):
    assert description(model, field).endswith(end)
