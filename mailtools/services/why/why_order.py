"""In which order messages are told that came of one another."""

from __future__ import annotations

from collections.abc import Iterator

from mailtools.services.why.refusals import Refusal
from mailtools.services.why.story import Story


def in_order(found: list[Story], linked: dict[str, Story]) -> Iterator[tuple[Story, str]]:
    """Yield each message once, what came of it behind it, with what it is to that one."""
    came_of: dict[str, tuple[str, str]] = {}
    for one in linked.values():
        for id_, how in one.children.items():
            came_of.setdefault(id_, (one.id, how))
        if one.origin in linked:
            came_of.setdefault(one.id, (one.origin, "a copy" if one.copy_of else "sent on"))
    done: set[str] = set()

    def follow(one: Story) -> Iterator[tuple[Story, str]]:
        if one.id in done:
            return
        done.add(one.id)
        parent, how = came_of.get(one.id, ("", ""))
        yield one, f"{parent} ({how})" if parent else ""
        for other in linked.values():
            if came_of.get(other.id, ("",))[0] == one.id:
                yield from follow(other)

    for one in found:
        first = one
        above = {first.id}
        while (parent := came_of.get(first.id, ("",))[0]) in linked and parent not in above:
            first = linked[parent]
            above.add(parent)
        yield from follow(first)


def came_in(refusal: Refusal, stories: list[Story]) -> str:
    """Give the ID under which a refused message was taken later; "" where none is known."""
    known = refusal.reverse_path is not None and refusal.forward_paths and refusal.last
    if not known or not refusal.status.startswith("4"):
        return ""
    sender = (refusal.reverse_path or "").lower()
    wanted = {path.lower() for path in refusal.forward_paths}
    for one in sorted(stories, key=lambda one: one.id):
        paths = {path.lower() for path in one.forward_paths}
        if (
            one.reverse_path.lower() == sender
            and wanted <= paths
            and one.arrival > refusal.last - 1
        ):
            return one.id
    return ""
