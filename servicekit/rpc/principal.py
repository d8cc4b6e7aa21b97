"""Who a caller is. Known without gRPC too, by those who make tokens."""

from dataclasses import dataclass
from uuid import UUID

from servicekit.v1 import policy_pb2


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever calls, once that is known."""

    name: str
    """How logs and the audit call the principal; never a secret."""
    role: policy_pb2.Role
    clients: frozenset[UUID] | None
    """The clients whose things it may see; None means all."""

    @property
    def speaks_for_all(self) -> bool:
        """Whether it is KeyService, which calls the bridge on behalf of everybody."""
        return self.role == policy_pb2.ROLE_BRIDGE_WRITER
