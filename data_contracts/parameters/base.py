"""Base of all parameter models, and the selection of fields that determine a result.

A field that changes no result is declared `Annotated[..., NO_RESULT]`. Digests and manifests contain neither these
fields nor the fields that `idle` returns, so two runs with equal results have one digest.
"""

from collections.abc import Mapping, Set
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Precision = Annotated[
    Literal["32-true", "bf16-mixed", "16-mixed"],
    Field(description="Numeric precision; 16-mixed (fp16) works on CUDA only."),
]
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
NO_RESULT = "changes no result"  # use as Annotated[bool, NO_RESULT]


class Parameters(BaseModel):
    """Base of all parameter models: immutable, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def identity(self) -> dict[str, Any]:
        """Return the fields that determine a result, as JSON."""
        fields = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if NO_RESULT in field.metadata:
                del fields[name]
            elif isinstance(value, Parameters):
                fields[name] = value.identity()
        return without(fields, self.idle())

    def idle(self) -> set[str]:
        """Return the fields (`path.to.field`) that have no effect with the current values of other fields."""
        return set()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Append the bounds to the description of each bounded field, since Prefect's forms show only descriptions."""
        schema = handler(core)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            if bounds := _bounds_in_words(field):
                text = field.get("description", "").removesuffix(".")
                field["description"] = f"{text} ({bounds}).".lstrip()
        return schema


def _bounds_in_words(field: Mapping[str, Any]) -> str:
    """Return the bounds in a field's JSON schema or in its `anyOf`, e.g. `at least 1`; empty without bounds."""
    if "minimum" in field and "maximum" in field:
        return f"{field['minimum']:,.10g} to {field['maximum']:,.10g}"
    words = [f"{word} {field[bound]:,.10g}" for bound, word in _BOUNDS.items() if bound in field]
    return ", ".join(words) or "".join(_bounds_in_words(one) for one in field.get("anyOf", ()))


def without(fields: dict[str, Any], paths: Set[str]) -> dict[str, Any]:
    """Return `fields` without the entries at `paths` (`path.to.field`); missing paths are ignored."""
    for path in paths:
        *parents, name = path.split(".")
        inner = fields
        for parent in parents:
            inner = inner.get(parent, {})
        inner.pop(name, None)
    return fields
