"""Print the lineage of a result as a tree: the inputs of a result are indented below the result."""

from collections.abc import Iterator

from rich.tree import Tree

from data_contracts.store.manifests import describe_code
from tasks.maintenance.lineage import AS_ABOVE, Lineage, Link


def lineage_lines(lineage: Lineage) -> Iterator[Tree | str]:
    """Yield a tree of the inputs, a tree of the results made from a stage, and the sources that could not be read."""
    yield _tree(lineage.chain)
    if lineage.chain.stage != "version":
        made = Tree("results made from it:" if lineage.came_of_it else "no result made from it is known")
        made.children += map(_tree, lineage.came_of_it)
        yield made
    for source in lineage.unasked:
        yield f"could not be read: {source}"


def _tree(link: Link) -> Tree:
    tree = Tree("\n".join(filter(None, (_name(link), _detail(link)))))
    tree.children += map(_tree, link.links)
    return tree


def _name(link: Link) -> str:
    """Return `ROLE: STAGE DIGEST, DESCRIPTION` of a link; with a SHA-256 if the link is a file, not a stage."""
    role = "" if link.role in ("stage", "version", "asked for") else f"{link.role}: "
    stage = f"{link.stage} {link.stage_digest}" if link.stage_digest else link.stage
    parts = [stage, link.about, None if link.digest == link.stage_digest else f"sha256 {link.digest or 'not known'}"]
    return role + ", ".join(part for part in parts if part)


def _detail(link: Link) -> str:
    """Return date, code version and folder of a result, or the reason why its inputs are unknown."""
    made = (link.created or "")[:16].replace("T", " ")
    if not link.stage_digest or link.unknown == AS_ABOVE:
        return link.unknown or made
    run = f"MLflow run {link.mlflow_run}" if link.mlflow_run else ""
    return ", ".join(part for part in (made, describe_code(link.code), link.where, run) if part)
