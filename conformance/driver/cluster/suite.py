"""The suites of clusters: nodes of the real program together, and what befalls them."""

import brokers
from kafka_tools import KafkaTools

from . import bad_input, coordinators, disks, faults, mixed, network, storm, tools
from .load import WRITERS
from .nodes import SHORT_SESSION, started, three_combined

CLUSTER, MIXED = "cluster", "mixed cluster"
STORM_SECONDS, LONG_STORM_SECONDS = 25, 1200


class Cases:
    """Runs cases one after the other, each in a folder of its own, and says what they saw."""

    def __init__(self, report, suite, folder):
        self.report, self.suite, self.folder = report, suite, folder
        self.count = 0

    def new_folder(self):
        self.count += 1
        folder = self.folder / f"{self.count}"
        folder.mkdir(parents=True)
        return folder

    def run(self, name, case, *given):
        folder = self.new_folder()

        def judged():
            if seen := case(folder, *given):
                self.report.say(f"{self.suite}: {name}: {seen}")

        self.report.run(self.suite, name, judged)


def faulty(report, make, folder, options):
    """Every fault by itself; then all of them by a chance from the seed."""
    cases = Cases(report, CLUSTER, folder)
    with KafkaTools() as kafka_tools:
        for number, (name, case) in enumerate({**faults.ALONE, **faults.WITH_TOOLS}.items()):
            given = (kafka_tools,) if name in faults.WITH_TOOLS else ()
            # Each time that the suite runs, and for each fault, it is another's turn.
            turn = (options.seed + number) % len(WRITERS)
            for writer in WRITERS if options.long else [WRITERS[turn]]:
                cases.run(f"{name}, under {writer}", case, make, writer, *given)
        client = WRITERS[options.seed % len(WRITERS)]
        rarer = [
            ("kill -9 of two of five", faults.killed_two_of_five),
            ("an unclean election", disks.unclean_election, kafka_tools),
        ]
        if make is brokers.Ottla:
            # Apache Kafka's node ends.
            rarer.append(("a leader whose disk is full", disks.full_disk, True))
            rarer.append(("a follower whose disk is full", disks.full_disk, False))
        for name, case, *given in by_turns(options, rarer):
            cases.run(f"{name}, under {client}", case, make, client, *given)
    seconds = options.storm_seconds or (LONG_STORM_SECONDS if options.long else STORM_SECONDS)
    for count in by_turns(options, [3, 5]):
        name = f"a mixture of faults in {count} nodes for {seconds} s, seed {options.seed}"
        cases.run(name, storm.mixture, make, seconds, options.seed, count)


def cut_off(report, make, folder, options):
    """The network between nodes is cut."""
    cases = Cases(report, "cluster: network", folder)
    cuts = list(network.CUTS.items())
    if not options.long:
        # The worst of them, and one of the others by turns.
        cuts = [cuts[0], cuts[1 + options.seed % (len(cuts) - 1)]]
    for number, (name, cut) in enumerate(cuts):
        client = WRITERS[(options.seed + number) % len(WRITERS)]
        cases.run(f"{name}, under {client}", network.cut_off, make, client, cut)


def by_turns(options, all_of_them):
    """All of them in the long form; else the one whose turn it is by the seed."""
    return all_of_them if options.long else [all_of_them[options.seed % len(all_of_them)]]


def coordinated(report, make, folder, options):
    """Coordinators whose nodes die."""
    suite = "cluster: coordinators"

    def three(folder):
        return started(folder, three_combined(make), SHORT_SESSION)

    cases = Cases(report, suite, folder)
    for name, case, given in coordinated_cases(report, suite, (three, three), options):
        cases.run(f"{name}, coordinators killed", case, *given)


def coordinated_by_either(report, folder, options):
    """Coordinators that move between Apache Kafka's broker and Ottla's."""
    suite = "mixed cluster: coordinators"
    cases = Cases(report, suite, folder)
    # Of two brokers Apache Kafka's share consumer does not find the other, whatever their make.
    clusters = mixed.one_of_each, mixed.one_and_two
    found = coordinated_cases(report, suite, clusters, options)
    if not options.long:
        # And of three it has been seen to stand still after a kill, where all were Apache Kafka's.
        found = [one for one in found if one[1] is not coordinators.share_group]
    for name, case, given in by_turns(options, found):
        cases.run(f"{name}, coordinated by either make", case, *given)


def coordinated_cases(report, suite, clusters, options):
    """[(name, case, what it is given)], on clusters of one kind and, for share groups, of another."""
    cluster_in, cluster_for_shares = clusters
    client, seed = WRITERS[options.seed % len(WRITERS)], options.seed
    protocols = by_turns(options, ["classic", "consumer"])
    return [
        *(
            (
                f"transactions of {client}, group.protocol={protocol}",
                coordinators.transactions,
                (cluster_in, client, protocol, seed),
            )
            for protocol in protocols
        ),
        ("a share group", coordinators.share_group, (cluster_for_shares,)),
        *(
            (
                f"Kafka Streams, group.protocol={protocol}",
                coordinators.streams,
                (report, suite, cluster_in, protocol, seed),
            )
            for protocol in by_turns(options, ["classic", "streams"])
        ),
    ]


def refused(report, folder):
    """What must not join, and what must not be formatted over."""
    cases = Cases(report, "cluster: bad input", folder)
    for name, case in bad_input.CASES.items():
        cases.run(name, case)


def seen_by_tools(report, folder):
    suite = "cluster: tools"
    with KafkaTools() as kafka_tools:
        tools.compare(report, suite, Cases(report, suite, folder).new_folder(), kafka_tools)


def suites(report, make, folder, options):
    """The suites by name. Those that need both programs are run against Ottla only."""
    found = {
        CLUSTER: lambda: faulty(report, make, folder / "faults", options),
        "cluster: network": lambda: cut_off(report, make, folder / "cut", options),
        "cluster: coordinators": lambda: coordinated(report, make, folder / "coordinators", options),
    }
    if make is brokers.Ottla:
        found |= {
            "cluster: bad input": lambda: refused(report, folder / "refused"),
            "cluster: tools": lambda: seen_by_tools(report, folder / "tools"),
            MIXED: lambda: mixed.run(Cases(report, MIXED, folder / "mixed"), options),
            "mixed cluster: coordinators": lambda: coordinated_by_either(
                report, folder / "coordinated by either", options
            ),
        }
    return found
