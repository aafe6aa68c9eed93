"""Requests about the same content meet at the same replica, which does the work once and remembers it.

A caller names what its request is about: `handle.options(session_id=key)`. Such a request goes to the replica
that its key belongs to on the ring of replicas (`multimodal.ring`); where that one is loaded above the bound,
or full, to the next on the ring; where none of them takes it, to whom Serve's power of two choices gives it.
Requests without a key go by power of two choices, as if this router were not there.

Configured for each deployment, in `request_router_config`. Serve ships this module to every process that has
a handle, as a pickle by value, so nothing here may be kept in a global.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

import ray.exceptions
from ray.serve._private.common import RequestMetadata
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.exceptions import RayServeException
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from multimodal.ring import FLOOR, LOAD_FACTOR, LoadBound, Ring

NAMED = "="
"""Keys of content are hexadecimal."""


def of_replica(name: str) -> str:
    """The key of calls that are for one replica; where it is gone, they go to any."""
    return NAMED + name


class AffinityRouter(PowerOfTwoChoicesRequestRouter):
    """Its `request_router_kwargs` are `load_factor` and `floor`: see `multimodal.ring.LoadBound`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._bound = LoadBound()
        self._ring = Ring(())
        self._by_name: Mapping[str, ReplicaID] = {}
        self._under_way: Counter[ReplicaID] = Counter()
        """Requests of this router, from the choice of a replica on. Where each router keeps its own requests
        below the bound, so is their sum; what Serve knows of those of others is late, and drifts."""

        self._chosen: Counter[ReplicaID] = Counter()
        """Of those, requests that are not sent yet."""

    def initialize_state(  # type: ignore[override]  # a misspelt name is an error, not ignored
        self, *, load_factor: float = LOAD_FACTOR, floor: int = FLOOR
    ) -> None:
        """Takes `request_router_kwargs`. Raises TypeError and ValueError for what cannot work."""
        self._bound = LoadBound(load_factor, floor)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Those that run now. A replica that is stopping is none of them any more."""
        super().update_replicas(replicas)
        by_name = {replica.replica_id.unique_id: replica.replica_id for replica in replicas}
        if by_name.keys() != self._by_name.keys():
            self._by_name, self._ring = by_name, Ring(by_name)
            for gone in self._under_way.keys() - self.curr_replicas.keys():
                del self._under_way[gone]
                self._chosen.pop(gone, None)

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        """Called by Serve with a replica that could not be reached, before it tries the request once more.

        Raises RayServeException, which ends the request, where it was not this replica: one that had made an
        argument went away, and what it made failed with it, also where a copy of it lies on another machine.
        Serve takes that for an error of the replica that was to get it, and would try for ever, without a
        pause. All that a replica says before it has accepted a request, and that Ray says in its name, is of
        its arguments.
        """
        error = sys.exc_info()[1]
        if isinstance(error, ray.exceptions.RayTaskError):
            raise RayServeException("An argument of the call failed.") from error
        super().on_replica_actor_unavailable(replica_id)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Replicas to try, one after the other; of those in an inner list, the least loaded one."""
        others = await super().choose_replicas(candidate_replicas, pending_request)
        key = pending_request.metadata.session_id if pending_request else ""
        if not key or len(self.curr_replicas) < 2:
            return others
        if key.startswith(NAMED):
            named = self._by_name.get(key.removeprefix(NAMED))
            return [[self.curr_replicas[named]]] if named in self.curr_replicas else others
        return [[replica] for replica in self._of_key(key)] + others

    def _of_key(self, key: str) -> list[RunningReplica]:
        """Those below the bound, the key's own first."""
        # One that has died stays on the ring until Serve's controller has noticed.
        order = [name for name in self._ring.order(key) if self._by_name[name] in self.curr_replicas]
        loads = {name: self._under_way[self._by_name[name]] for name in order}
        return [self.curr_replicas[self._by_name[name]] for name in self._bound.admitted(order, loads)]

    def _fulfill_next_pending_request(
        self, replica: RunningReplica, request_metadata: RequestMetadata | None = None
    ) -> None:
        """Give the replica to the oldest request with the key that it was chosen for.

        The base class would give it to the oldest of all. The id of the request does not tell either: all
        calls that a replica makes for one request have it in common.
        """
        pending = self._oldest_like(request_metadata)
        if pending is None:
            return
        self._cancel_routing_task_for_pending_request(pending)
        self._record_queue_wait_time(pending)
        pending.future.set_result(replica)
        self._remove_pending_request_from_indices(pending)
        # A task routes many requests before the first of them is sent, and has to know of those. Each is
        # sent, or cancelled, by the task that the result has just woken: before what is called next.
        self._begin(replica.replica_id)
        self._chosen[replica.replica_id] += 1
        self._event_loop.call_soon(self._forget_choice, replica.replica_id)

    def _oldest_like(self, metadata: RequestMetadata | None) -> PendingRequest | None:
        for pending in self._pending_requests_to_fulfill:
            if not pending.future.done() and (metadata is None or _alike(pending.metadata, metadata)):
                return pending
        return None

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """Called by Serve with each request that is sent."""
        super().on_send_request(replica_id)
        if self._chosen[replica_id]:
            self._chosen[replica_id] -= 1
        else:
            self._begin(replica_id)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Called by Serve once for each request that was sent, however it ended."""
        super().on_request_completed(replica_id, internal_request_id)
        self._end(replica_id)

    def _forget_choice(self, replica: ReplicaID) -> None:
        """Of a request that was cancelled before it was sent."""
        if self._chosen[replica]:
            self._chosen[replica] -= 1
            self._end(replica)

    def _begin(self, replica: ReplicaID) -> None:
        self._under_way[replica] += 1

    def _end(self, replica: ReplicaID) -> None:
        if self._under_way[replica] > 1:
            self._under_way[replica] -= 1
        else:
            del self._under_way[replica]


def _alike(one: RequestMetadata, other: RequestMetadata) -> bool:
    return (one.session_id, one.multiplexed_model_id) == (other.session_id, other.multiplexed_model_id)
