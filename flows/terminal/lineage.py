"""Print the lineage of a result as a tree: the inputs of a result are indented below the result."""

from collections.abc import Iterator

from data_contracts.store.manifests import describe_code
from tasks.maintenance.lineage import AS_ABOVE, Lineage, Link


def lineage_lines(lineage: Lineage) -> Iterator[str]:
    """Yield the lines of the tree, of the results made from a stage, and of sources that could not be read."""
    yield from _tree(lineage.chain)
    if lineage.chain.stage != "version":
        yield ""
        yield "results made from it:" if lineage.came_of_it else "no result made from it is known"
        yield from _branches(lineage.came_of_it)
    for source in lineage.unasked:
        yield f"could not be read: {source}"


def _tree(link: Link) -> Iterator[str]:
    yield _name(link)
    detail = _detail(link)
    if detail:
        yield f"{'│' if link.links else ' '}  {detail}"
    yield from _branches(link.links)


def _branches(links: list[Link]) -> Iterator[str]:
    for place, link in enumerate(links, start=1):
        first, others = ("└─ ", "   ") if place == len(links) else ("├─ ", "│  ")
        for number, line in enumerate(_tree(link)):
            yield f"{others if number else first}{line}"


def _name(link: Link) -> str:
    """Return role and name of a link, e.g. `pretrained: pretrain 0123456789abcdef, epoch 4 of 4`, or with a SHA-256."""
    role = "" if link.role in ("stage", "version", "asked for") else f"{link.role}: "
    stage = f"{link.stage} {link.stage_digest}" if link.stage_digest else link.stage
    parts = [stage, link.about, None if link.digest == link.stage_digest else f"sha256 {link.digest or 'not known'}"]
    return role + ", ".join(part for part in parts if part)


def _detail(link: Link) -> str:
    """Return date, code version and folder of a result, or the reason why its inputs are unknown."""
    made = (link.created or "")[:16].replace("T", " ")
    if not link.stage_digest or link.unknown == AS_ABOVE:
        return link.unknown or made
    unknown = f"inputs unknown: {link.unknown}" if link.unknown else ""
    run = f"MLflow run {link.mlflow_run}" if link.mlflow_run and link.mlflow_run not in (link.where or "") else ""
    return ", ".join(part for part in (made, describe_code(link.code), link.where, run, unknown) if part)
