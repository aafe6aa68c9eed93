"""Which replica a request is given, without Serve around it: a router, and replicas that are none."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import pytest
import ray.exceptions
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, RequestMetadata
from ray.serve.exceptions import RayServeException
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from deployments.affinity import AffinityRouter, of_replica
from deployments.calls import translate
from multimodal.errors import LostMedia
from multimodal.ring import Ring

DEPLOYMENT = DeploymentID("Worker", "app")
NAMES = ("r0", "r1", "r2")
FLOOR = 4


@dataclass(eq=False)
class Replica:
    """Has so much to do."""

    name: str
    max_ongoing_requests: int = 1000
    queue: int = 0
    node_id: str = "node"
    availability_zone: None = None
    multiplexed_model_ids: frozenset[str] = field(default_factory=frozenset)

    @property
    def replica_id(self) -> ReplicaID:
        return ReplicaID(self.name, DEPLOYMENT)

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return self.queue


class Routed:
    """A router, and what it gives to whom."""

    def __init__(self, *replicas: Replica, load_factor: float = 1.25, floor: int = FLOOR) -> None:
        self.router = AffinityRouter(
            deployment_id=DEPLOYMENT,
            handle_source=DeploymentHandleSource.REPLICA,
            use_replica_queue_len_cache=True,
            initial_backoff_s=0.01,
        )
        self.router.initialize_state(load_factor=load_factor, floor=floor)
        self.run(*replicas)

    def run(self, *replicas: Replica) -> None:
        """These run from now on."""
        self.router.update_replicas(cast(list[RunningReplica], list(replicas)))

    async def choose(self, key: str = "") -> str:
        """As Serve does it, up to the point where the request would be sent."""
        # All calls that one replica makes for one request have the same ids.
        metadata = RequestMetadata(request_id="one", internal_request_id="one", session_id=key)
        pending = PendingRequest(args=[], kwargs={}, metadata=metadata)
        replica = await self.router._choose_replica_for_request(pending)
        self.router.on_send_request(replica.replica_id)
        return str(replica.replica_id.unique_id)

    async def choose_all(self, *keys: str) -> list[str]:
        """At the same time."""
        return await asyncio.gather(*map(self.choose, keys))

    def complete(self, *names: str) -> None:
        """Requests of these replicas have ended."""
        for name in names:
            self.router.on_request_completed(ReplicaID(name, DEPLOYMENT), "one")


def three() -> list[Replica]:
    return [Replica(name) for name in NAMES]


async def test_every_call_of_one_request_meets_the_replica_of_its_key() -> None:
    routed = Routed(*three())
    keys = [f"key-{i}" for i in range(9)]
    expected = [Ring(NAMES).order(key)[0] for key in keys]
    assert len(set(expected)) == 3
    for _ in range(3):
        met = await routed.choose_all(*keys)
        assert met == expected
        routed.complete(*met)


async def test_a_burst_of_one_key_is_spread_as_the_bound_says() -> None:
    routed = Routed(*three())
    await asyncio.sleep(0.01)  # while it asks the replicas for their queues, a few more may go to one
    first, second, third = Ring(NAMES).order("hot")
    assert Counter(await routed.choose_all(*["hot"] * 9)) == {first: FLOOR, second: FLOOR, third: 1}
    routed.complete(first)
    assert await routed.choose("hot") == first


async def test_what_has_ended_is_no_load() -> None:
    routed = Routed(*three())
    for _ in range(20):
        met = await routed.choose_all(*["hot"] * FLOOR)
        assert set(met) == {Ring(NAMES).order("hot")[0]}
        routed.complete(*met)


async def test_a_call_that_is_cancelled_before_it_is_sent_is_no_load() -> None:
    routed = Routed(*three())
    for _ in range(3 * FLOOR):
        call = asyncio.ensure_future(routed.choose("hot"))
        await asyncio.sleep(0)
        while not call.done():
            await asyncio.sleep(0)
            call.cancel()
    await asyncio.sleep(0.01)
    # Those that had been sent all the same are told to have ended: more than there were does no harm.
    routed.complete(*NAMES * 3 * FLOOR)
    assert set(await routed.choose_all(*["hot"] * FLOOR)) == {Ring(NAMES).order("hot")[0]}


async def test_a_replica_that_is_full_is_passed_over() -> None:
    first, second, _ = Ring(NAMES).order("hot")
    replicas = three()
    for replica in replicas:
        if replica.name == first:
            replica.queue = replica.max_ongoing_requests = 1
    routed = Routed(*replicas)
    await asyncio.sleep(0.01)
    assert await routed.choose("hot") == second


async def test_a_request_waits_where_all_are_full() -> None:
    replicas = three()
    for replica in replicas:
        replica.queue = replica.max_ongoing_requests = 1
    routed = Routed(*replicas)
    calls = [asyncio.ensure_future(routed.choose(key)) for key in ("hot", "")]
    await asyncio.sleep(0.1)
    assert not any(call.done() for call in calls)
    replicas[0].queue = 0
    assert await asyncio.wait_for(asyncio.gather(*calls), 10) == ["r0", "r0"]


async def test_a_replica_that_died_is_passed_over_before_serve_has_noticed() -> None:
    routed = Routed(*three())
    first, second, _ = Ring(NAMES).order("hot")
    routed.router.on_replica_actor_died(ReplicaID(first, DEPLOYMENT))
    assert await routed.choose("hot") == second


async def test_the_ring_follows_the_replicas() -> None:
    routed = Routed(*three())
    routed.run(Replica("r1"), Replica("r7"))
    keys = [f"key-{i}" for i in range(8)]
    met = await routed.choose_all(*keys)
    assert met == [Ring(("r1", "r7")).order(key)[0] for key in keys]


async def test_one_replica_gets_all() -> None:
    routed = Routed(Replica("r0"))
    assert set(await routed.choose_all(*["hot", "", "cold"] * 10)) == {"r0"}


async def test_requests_without_a_key_do_not_take_the_place_of_others() -> None:
    keys = ["", "a", "", "b", "", "c"]
    routed = Routed(*three(), floor=len(keys))  # those without a key may all go where others belong
    for _ in range(20):
        met = await routed.choose_all(*keys)
        assert met[1::2] == [Ring(NAMES).order(key)[0] for key in keys[1::2]]
        routed.complete(*met)


# --- calls for one replica -----------------------------------------------------------------------


async def test_calls_for_one_replica_go_there_however_many_they_are() -> None:
    routed = Routed(*three())
    for name in NAMES:
        assert set(await routed.choose_all(*[of_replica(name)] * 3 * FLOOR)) == {name}


async def test_calls_for_several_replicas_at_a_time_are_not_mixed_up() -> None:
    routed = Routed(*three())
    assert await routed.choose_all(*map(of_replica, NAMES * 5)) == list(NAMES * 5)


async def test_a_call_for_a_replica_that_is_full_waits_for_it() -> None:
    replicas = three()
    replicas[1].queue = replicas[1].max_ongoing_requests = 1
    routed = Routed(*replicas)
    call = asyncio.ensure_future(routed.choose(of_replica("r1")))
    await asyncio.sleep(0.1)
    assert not call.done()
    replicas[1].queue = 0
    assert await asyncio.wait_for(call, 10) == "r1"


async def test_a_call_for_a_replica_that_is_gone_goes_to_any() -> None:
    routed = Routed(*three())
    routed.run(Replica("r0"), Replica("r2"))
    assert set(await routed.choose_all(*[of_replica("r1")] * 9)) <= {"r0", "r2"}
    assert await routed.choose(of_replica("r0")) == "r0"
    routed.run(Replica("r2"))
    assert await routed.choose(of_replica("r0")) == "r2"


async def test_so_does_one_for_a_replica_that_died_before_serve_has_noticed() -> None:
    routed = Routed(*three())
    routed.router.on_replica_actor_died(ReplicaID("r1", DEPLOYMENT))
    assert set(await routed.choose_all(*[of_replica("r1")] * 9)) <= {"r0", "r2"}


UNREACHABLE = ray.exceptions.ActorUnavailableError("no answer", b"1" * 16)


def tell_unreachable(error: ray.exceptions.RayError | None = None) -> AffinityRouter:
    """As Serve does it, with the error that it has caught, if any."""
    router = Routed(*three()).router
    try:
        if error is not None:
            raise error
    except ray.exceptions.ActorUnavailableError:
        router.on_replica_actor_unavailable(ReplicaID("r0", DEPLOYMENT))
    else:
        router.on_replica_actor_unavailable(ReplicaID("r0", DEPLOYMENT))
    return router


class OfArgument(ray.exceptions.RayTaskError, ray.exceptions.ActorUnavailableError):
    """What Ray makes of an argument that failed because its maker was not reached."""

    def __init__(self) -> None:
        """Without a task."""


async def test_an_argument_whose_maker_was_not_reached_ends_the_call() -> None:
    """Serve would take it for an error of the replica that was to get it, and try for ever."""
    with pytest.raises(RayServeException) as failed:
        tell_unreachable(OfArgument())
    assert isinstance(translate(failed.value, "Worker"), LostMedia)


@pytest.mark.parametrize("error", [UNREACHABLE, None])
async def test_a_call_whose_replica_was_not_reached_is_tried_again(
    error: ray.exceptions.RayError | None,
) -> None:
    """There, too: such an error may pass."""
    metadata = RequestMetadata("one", "one", session_id=of_replica("r0"))
    pending = PendingRequest(args=[], kwargs={}, metadata=metadata)
    choice = await tell_unreachable(error)._choose_replica_for_request(pending)
    assert choice.replica_id.unique_id == "r0"


async def test_arguments_that_cannot_work_are_refused() -> None:
    router = Routed(*three()).router
    with pytest.raises(ValueError, match="load_factor"):
        router.initialize_state(load_factor=0.9)
    with pytest.raises(TypeError, match="flor"):
        router.initialize_state(**{"flor": 4})
