"""What all parameter models have in common, and which of them a result is a function of.

Notable decisions:
- a field that changes no result (it saves memory, or tells when to give up) is declared `Annotated[..., NO_RESULT]`
  where it stands, so that a reader of the model sees it;
- a field that other fields put out of effect (`decay` of a schedule that does not decay) is named by `idle`;
- neither stands in a stage's digest or manifest: two runs that compute the same are one result;
- a schema says its bounds in words too, as Prefect's forms show a field's description and not its bounds.
"""

from collections.abc import Mapping, Set
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Share = Annotated[float, Field(ge=0.0, le=1.0)]
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
NO_RESULT = "changes no result"  # declares a field so: Annotated[bool, NO_RESULT]


class Parameters(BaseModel):
    """Base of all parameter models: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def identity(self) -> dict[str, Any]:
        """The fields that a result is a function of, as JSON: those that change it, and are in effect."""
        fields = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if NO_RESULT in field.metadata:
                del fields[name]
            elif isinstance(value, Parameters):
                fields[name] = value.identity()
        return without(fields, self.idle())

    def idle(self) -> set[str]:
        """Fields (`path.to.field`) that the values of others put out of effect."""
        return set()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Each bounded field's description ends with its bounds: `Length of a clip (above 1, at most 600).`"""
        schema = handler(core)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            if bounds := _bounds_in_words(field):
                said = field.get("description", "").removesuffix(".")
                field["description"] = f"{said} ({bounds}).".lstrip()
        return schema


def _bounds_in_words(field: Mapping[str, Any]) -> str:
    """Of a field's schema, or of the one alternative that has some; empty where there are none."""
    if "minimum" in field and "maximum" in field:
        return f"{field['minimum']:,.10g} to {field['maximum']:,.10g}"
    words = [f"{said} {field[bound]:,.10g}" for bound, said in _BOUNDS.items() if bound in field]
    return ", ".join(words) or "".join(_bounds_in_words(one) for one in field.get("anyOf", ()))


def without(fields: dict[str, Any], paths: Set[str]) -> dict[str, Any]:
    """`fields` less those at `paths` (`path.to.field`), where they are there."""
    for path in paths:
        *parents, name = path.split(".")
        inner = fields
        for parent in parents:
            inner = inner.get(parent, {})
        inner.pop(name, None)
    return fields
