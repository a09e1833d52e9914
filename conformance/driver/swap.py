"""The swap and the way back: one directory and one configuration file, opened by Ottla and by Apache
Kafka in turn, after a clean stop and after kill -9. Whoever opens it shows what the other left."""

from dataclasses import dataclass

import populate
from brokers import Kafka, Ottla, run
from contents import contents, differences
from dumped import read_every_file
from prepared import forget_completion
from unfinished import Unfinished

STORAGE = "kafka.tools.StorageTool"


@dataclass
class Swap:
    """Who writes first, how it ends, and how the directory was formatted."""

    first: type
    crash: bool
    # None is as formatted today; else the release whose features the cluster has.
    release: str | None = None
    static_voters: bool = False
    and_back: bool = False

    @property
    def name(self):
        second = other(self.first)
        way = [self.first.name, second.name] + [self.first.name] * self.and_back
        how = "kill -9" if self.crash else "clean stop"
        made = f", metadata.version of {self.release}" if self.release else ""
        made += ", controller.quorum.voters" if self.static_voters else ""
        return f"{' to '.join(way)}, {how}{made}"


def other(make):
    return Kafka if make is Ottla else Ottla


SHORT = [
    Swap(Ottla, crash=False, and_back=True),
    Swap(Ottla, crash=True),
    Swap(Kafka, crash=False, and_back=True),
    Swap(Kafka, crash=True, and_back=True),
    Swap(Kafka, crash=False, release="3.3-IV3", static_voters=True),
    Swap(Kafka, crash=True, release="3.7-IV4", static_voters=True),
]
RELEASES = ["3.4-IV0", "3.5-IV2", "3.6-IV2", "3.8-IV0", "3.9-IV0", "4.0-IV3", "4.1-IV1", "4.2-IV1"]
LONG = [
    *SHORT,
    Swap(Ottla, crash=True, and_back=True),
    Swap(Ottla, crash=False, release="3.3-IV3", static_voters=True, and_back=True),
    *(
        Swap(Kafka, crash, release, static_voters, and_back=True)
        for number, release in enumerate(RELEASES)
        for crash, static_voters in [(number % 2 == 0, number % 3 != 0)]
    ),
    Swap(Kafka, crash=False, static_voters=True, and_back=True),
]


def two_directories(folder, static_voters):
    """Settings of a node with two log directories."""
    properties = {
        "log.dirs": f"{folder / 'data-a'},{folder / 'data-b'}",
        # So that there are snapshots, and updates after them.
        "share.coordinator.snapshot.update.records.per.snapshot": "3",
    }
    if static_voters:
        properties["controller.quorum.bootstrap.servers"] = ""
    return properties


def format_node(node, swap, tools):
    """By the first program's own tool."""
    lines = node.config.read_text().splitlines()
    if swap.static_voters:
        lines = [line for line in lines if not line.startswith("controller.quorum.bootstrap")]
        lines.append(f"controller.quorum.voters=1@127.0.0.1:{node.controller_port}")
    # Kafka compacts and rolls by itself; what is compared must not change under the test.
    lines += ["log.cleaner.enable=false", "auto.create.topics.enable=false"]
    node.config.write_text("\n".join(lines) + "\n")
    arguments = ["format", "-t", "b3R0bGEtYW5kLWthZmthMQ", "-c", str(node.config)]
    arguments += [] if swap.static_voters else ["--standalone"]
    arguments += ["--release-version", swap.release] if swap.release else []
    if isinstance(node, Ottla):
        run([node.start_command()[0], "storage", *arguments])
    else:
        tools.must(STORAGE, *arguments)


def end(node, crash, tools, directories):
    """End the program, and let Kafka's tool read what it left: how many files of which kind."""
    if crash:
        node.kill()
    else:
        node.stop()
    if isinstance(node, Ottla):
        return read_every_file(tools, directories, stopped_cleanly=not crash)
    return None


def must_be_same(before, after, whose):
    found = list(differences(before, after))
    assert not found, f"{whose} shows {len(found)} things otherwise: {'; '.join(found[:2])}"


def take_over(nodes, make, before):
    """Start the other program on the last node's directories; it shows what was there."""
    nodes.append(nodes[-1].taken_over_by(make))
    nodes[-1].start()
    must_be_same(before, contents(nodes[-1].bootstrap), make.name)


def there_and_back(folder, swap, tools, seed):
    # The last one runs; each has the folder of the one before.
    nodes = [swap.first(folder, two_directories(folder, swap.static_voters))]
    unfinished = None
    try:
        format_node(nodes[0], swap, tools)
        nodes[0].start()
        populate.populate(nodes[0].bootstrap, seed)
        # Older clusters have no consumer, share and streams groups.
        unfinished = Unfinished(nodes[0].bootstrap, has_every_type=swap.release is None)
        take_over_in_turn(nodes, swap, tools, unfinished)
    finally:
        if unfinished:
            unfinished.remove()
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.kill()
    nodes[-1].remove()


def take_over_in_turn(nodes, swap, tools, unfinished):
    """Through all swaps of a case."""
    bootstrap = nodes[0].bootstrap
    directories = [nodes[0].folder / "data-a", nodes[0].folder / "data-b"]
    # It lives through every swap, as the clients of a real cluster do.
    client = populate.producer(bootstrap, "lz4")
    populate.add(bootstrap, client)
    for make in [other(swap.first)] + [swap.first] * swap.and_back:
        unfinished.begin()
        before, groups = contents(bootstrap), unfinished.groups()
        must_have_read_coordinators(end(nodes[-1], swap.crash, tools, directories), swap)
        # Apache Kafka, which leads at first by what it knew before it ended, may take such a transaction
        # for completed, and never write its markers.
        if swap.crash and make is Ottla:
            forget_completion(directories, unfinished.prepared)
        take_over(nodes, make, before)
        found = unfinished.groups()
        assert found == groups, f"groups were {groups - found}, and are {found - groups}"
        unfinished.go_on()
        populate.add(bootstrap, client)
    unfinished.close()
    before = contents(bootstrap)
    end(nodes[-1], False, tools, directories)
    if isinstance(nodes[-1], Ottla):
        # Once more by itself: what it added to the other's directory is there too.
        take_over(nodes, Ottla, before)
        nodes[-1].stop()


def must_have_read_coordinators(read, swap):
    """Each decoder has had records of its coordinator."""
    if read is None:
        return
    wanted = ["--offsets-decoder", "--transaction-log-decoder", "--cluster-metadata-decoder"]
    wanted += ["--share-group-state-decoder"] if swap.release is None else []
    missing = [decoder for decoder in wanted if not read.get(decoder)]
    assert not missing, f"kafka-dump-log read nothing with {missing}, but {read}"
