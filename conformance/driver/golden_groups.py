"""Writes anew what Apache Kafka writes of a group that goes from the classic protocol to the consumer protocol and
back: the first segment of `__consumer_offsets-0`, with the script of requests that the differential run has for it.

    KAFKA_LIBS=DIR ../.work/venv/bin/python golden_groups.py
"""

import shutil
import sys
import tempfile
from pathlib import Path

from brokers import Kafka
from clients import CONFORMANCE

DIFFERENTIAL = CONFORMANCE / "differential"
SCRIPT = "consumer_group_heartbeat/upgrade_and_downgrade"
GOLDEN = CONFORMANCE.parent / "crates/coordinator/testdata/kafka-4.3.1/migration_consumer_offsets.log"


def write(golden):
    sys.path.insert(0, str(DIFFERENTIAL))
    from judge.conversation import Conversation
    from judge.run import take_step, warm_up
    from judge.script import read

    properties = {"offsets.topic.num.partitions": "1", "group.initial.rebalance.delay.ms": "0"}
    with tempfile.TemporaryDirectory() as folder:
        broker = Kafka(Path(folder) / "kafka", properties)
        broker.format()
        broker.start()
        try:
            warm_up(broker.bootstrap)
            script = read(DIFFERENTIAL / "scripts" / SCRIPT, DIFFERENTIAL / "scripts")
            side = Conversation(broker.bootstrap, "migrating", script.versions[-1])
            for step in script.steps:
                take_step([side], step)
            side.close()
        finally:
            broker.kill()
        shutil.copy(broker.folder / "data/__consumer_offsets-0/00000000000000000000.log", golden)


if __name__ == "__main__":
    write(GOLDEN)
