"""Apache Kafka's command-line tools, run one after the other in one Java machine."""

import base64
import subprocess

from clients import java


class KafkaTools:
    def __enter__(self):
        self.process = subprocess.Popen(
            java("ottla.conformance.Tools"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def run(self, name, *arguments, stdin=b""):
        """What the tool of that class printed, and its exit code."""
        fields = [name.encode(), stdin, *(str(word).encode() for word in arguments)]
        line = b" ".join(base64.b64encode(field) for field in fields)
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the Java machine of Kafka's tools ended at {name}")
        code, length = map(int, answer.split())
        return self.process.stdout.read(length).decode(errors="replace"), code

    def must(self, name, *arguments, stdin=b""):
        """As `run`, of a tool that must succeed."""
        printed, code = self.run(name, *arguments, stdin=stdin)
        assert code == 0, f"{name} ended with {code}: {printed[-800:]}"
        return printed
