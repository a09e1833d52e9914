"""One fault each: what befalls a cluster under load, and what must hold then.

Each takes a folder, the make of the nodes and the client that writes, and gives a word about what it saw.
"""

import shutil
import time

from .load import judged
from .nodes import (
    COMBINED,
    SHORT_SESSION,
    apart,
    started,
    three_combined,
    until,
)

TOPIC = "load"
# Before the fault, so that there is something to lose.
WARM_SECONDS = 1.0
# A broker that is gone is missed after its session, for which controllers look now and then.
SESSION_SECONDS = 9


def killed_leader(folder, make, client):
    """All settings at their defaults: the session of a broker is nine seconds."""
    with started(folder, three_combined(make)) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, SESSION_SECONDS + 5, client) as load:
            time.sleep(WARM_SECONDS)
            leader = cluster.leader(TOPIC)
            leader.kill()
            until("another leads", lambda: cluster.leader(TOPIC) is not leader)
            until("records are acknowledged again", lambda: acknowledges(load))
            cluster.start_again([leader])
        return f"longest stall {load.longest_stall():.1f} s"


def acknowledges(load):
    return time.monotonic() - load.arrivals[-1] < 0.5


def killed_follower(folder, make, client):
    with started(folder, three_combined(make), SHORT_SESSION) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 7, client) as load:
            time.sleep(WARM_SECONDS)
            partition = cluster.partition(TOPIC)
            follower = next(one for one in partition.replicas if one != partition.leader)
            cluster.nodes[follower].kill()
            until("it is out of the ISR", lambda: follower not in cluster.partition(TOPIC).isr)
            cluster.start_again([cluster.nodes[follower]])
        return f"longest stall {load.longest_stall():.1f} s"


def killed_controller(folder, make, client):
    """Brokers and controllers are nodes of their own: what is written does not stand still."""
    with started(folder, apart(3, 3, make), dynamic=True) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 5, client) as load:
            time.sleep(WARM_SECONDS)
            active = cluster.active_controller()
            active.kill()
            until("another is active", lambda: cluster.active_controller() is not active)
            cluster.create_topic("made-without-it")
            active.spawn()
            active.await_listening()
            cluster.create_topic("made-with-it-again")
        return f"longest stall {load.longest_stall():.1f} s"


def killed_two_of_five(folder, make, client):
    """Of five combined nodes the active controller and a leader: what is left is a majority, and has all records."""
    settings = {"default.replication.factor": "5", "min.insync.replicas": "3"}
    with started(folder, [(make, COMBINED)] * 5, SHORT_SESSION | settings, dynamic=True) as cluster:
        cluster.create_topic(TOPIC, replicas=5)
        with judged(cluster, TOPIC, 9, client) as load:
            time.sleep(WARM_SECONDS)
            active = cluster.active_controller()
            leaders = (cluster.leader(TOPIC, number) for number in range(3))
            other = next((one for one in leaders if one is not active), cluster.nodes[active.id % 5 + 1])
            for node in (active, other):
                node.kill()
            until("another is active", lambda: cluster.active_controller() not in (active, other))
            gone = {active.id, other.id}
            until("others lead", lambda: all(one.leader not in gone for one in cluster.partitions(TOPIC)))
            until("records are acknowledged again", lambda: acknowledges(load))
            cluster.start_again([active, other])
        return f"longest stall {load.longest_stall():.1f} s"


def killed_all(folder, make, client):
    with started(folder, three_combined(make), dynamic=True) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 5, client):
            time.sleep(WARM_SECONDS)
            nodes = list(cluster.nodes.values())
            for node in nodes:
                node.kill()
            cluster.start_again(nodes)


def paused_leader(folder, make, client):
    """It wakes up as a leader that is none any more, with connections that still stand."""
    with started(folder, three_combined(make), SHORT_SESSION) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 9, client) as load:
            time.sleep(WARM_SECONDS)
            leader = cluster.leader(TOPIC)
            leader.pause()
            try:
                until("another leads", lambda: cluster.leader(TOPIC) is not leader)
                time.sleep(1)
            finally:
                leader.resume()
        return f"longest stall {load.longest_stall():.1f} s"


def rolling_restart(folder, make, client):
    """By SIGTERM, one after the other: leaders move before they end, so that no session has to run out."""
    with started(folder, three_combined(make)) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 12, client) as load:
            for node in cluster.nodes.values():
                time.sleep(WARM_SECONDS)
                node.stop()
                cluster.start_again([node])
                cluster.until_in_sync()
        stall = load.longest_stall()
        assert stall < SESSION_SECONDS, f"nothing was acknowledged for {stall:.1f} s"
        return f"longest stall {stall:.1f} s"


def wiped_disk(folder, make, client):
    """A broker comes back with an empty disk and gets everything from the others."""
    with started(folder, apart(3, 1, make), SHORT_SESSION) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 7, client):
            time.sleep(WARM_SECONDS)
            leader = cluster.leader(TOPIC)
            leader.kill()
            until("another leads", lambda: cluster.leader(TOPIC) is not leader)
            cluster.wipe(leader)
            cluster.start_again([leader])
            cluster.until_in_sync(TOPIC)
        assert (leader.folder / "data" / f"{TOPIC}-0").is_dir()


def lost_controller_disk(folder, make, client):
    """A voter of a dynamic quorum with an empty disk is another voter: it takes the place of the old one."""
    with started(folder, apart(3, 3, make), SHORT_SESSION, dynamic=True) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 5, client):
            active = cluster.active_controller()
            lost = next(node for node in cluster.controllers if node is not active)
            lost.kill()
            shutil.rmtree(lost.folder / "data")
            lost.format(cluster.id, ("--no-initial-controllers",))
            lost.spawn()
            lost.await_listening()
            until(
                "it observes the quorum",
                lambda: lost.id in {one["ReplicaId"] for one in cluster.quorum()["Observers"]},
            )


def preferred_election(folder, make, client, tools):
    """kafka-leader-election gives partitions back to those that are named first."""
    with started(folder, apart(3, 1, make), {"auto.leader.rebalance.enable": "false"}) as cluster:
        cluster.create_topic(TOPIC, assignments=[(1, 2, 3), (2, 3, 1), (3, 1, 2)])
        with judged(cluster, TOPIC, 8, client) as load:
            cluster.nodes[1].stop()
            cluster.start_again([cluster.nodes[1]])
            cluster.until_in_sync(TOPIC)
            assert cluster.leader(TOPIC).id != 1, "leaders go back by themselves"
            tools.must(
                "org.apache.kafka.tools.LeaderElectionCommand",
                *("--bootstrap-server", cluster.bootstrap),
                *("--election-type", "preferred", "--all-topic-partitions"),
            )
            until("it leads again", lambda: cluster.partition(TOPIC).leader == 1)
        return f"longest stall {load.longest_stall():.1f} s"


def reassignment(folder, make, client, tools):
    """kafka-reassign-partitions moves every replica off a node, which then has none."""
    with started(folder, apart(4, 1, make)) as cluster:
        cluster.create_topic(TOPIC, assignments=[(1, 2, 3), (2, 3, 1), (3, 1, 2)])
        plan = folder / "plan.json"
        moves = ",".join(
            f'{{"topic":"{TOPIC}","partition":{number},"replicas":[{nodes}]}}'
            for number, nodes in enumerate(("4,2,3", "2,3,4", "3,4,2"))
        )
        plan.write_text(f'{{"version":1,"partitions":[{moves}]}}')
        with judged(cluster, TOPIC, 8, client) as load:
            reassign = ("org.apache.kafka.tools.reassign.ReassignPartitionsCommand",)
            reassign += ("--bootstrap-server", cluster.bootstrap, "--reassignment-json-file", plan)
            tools.must(*reassign, "--execute")
            until(
                "every replica has moved",
                lambda: all(1 not in one.replicas for one in cluster.partitions(TOPIC)),
            )
            verified = tools.must(*reassign, "--verify")
            assert verified.count("is completed") == 3, verified
            cluster.until_in_sync(TOPIC)
            first = cluster.nodes[1].folder / "data"
            until("its files are gone", lambda: not list(first.glob(f"{TOPIC}-[0-9]")))
        return f"longest stall {load.longest_stall():.1f} s"


WITH_TOOLS = {
    "preferred election by kafka-leader-election": preferred_election,
    "reassignment by kafka-reassign-partitions": reassignment,
}
ALONE = {
    "kill -9 of a leader": killed_leader,
    "kill -9 of a follower (session of 3 s)": killed_follower,
    "kill -9 of the active controller": killed_controller,
    "kill -9 of all": killed_all,
    "a leader that is paused (session of 3 s)": paused_leader,
    "controlled rolling restart": rolling_restart,
    "a broker with an empty disk (session of 3 s)": wiped_disk,
    "a voter with an empty disk (session of 3 s)": lost_controller_disk,
}
