"""What the operator decided about the queue: the settings as a queue run needs them."""

from typing import NamedTuple

from mailtools.services.queue.classes import Classes
from mailtools.services.queue.holding import HoldRules
from mailtools.services.queue.limits import Limits
from mailtools.services.queue.schedule import Schedule
from mailtools.services.queue.transports import Transports


class Plan(NamedTuple):
    """What the operator decided; durations in seconds."""

    me: str
    postmaster: str
    schedule: Schedule
    transports: Transports
    local_agents: int = 2
    relay_agents: int = 2
    history: float = 14 * 86400
    keep_failed: float = 0.0
    keep_delivered: float = 0.0
    rules: HoldRules = HoldRules()
    suppress: float = 0.0
    lease: float = 0.0
    """How long the queue stays ours without a renewal; 0: it is on this host alone."""
    limits: Limits = Limits()
    classes: Classes = Classes()
    owner: tuple[int, int] | None = None
    """uid and gid of the queue, where we came as root: local-deliver is root, others the owner."""
