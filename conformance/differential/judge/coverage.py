"""Whether the scripts reach every API that is served, at its lowest, its highest and a middle version."""

from .conversation import Conversation
from .schema import apis


def served(address):
    """The APIs of a broker by name, each with its lowest and highest version."""
    runner = Conversation(address, "coverage", None)
    try:
        answer = runner.ask("ApiVersions", 2, {})
    finally:
        runner.close()
    names = apis()
    return {
        names[api["ApiKey"]]: (api["MinVersion"], api["MaxVersion"])
        for api in answer["ApiKeys"]
        if api["ApiKey"] in names
    }


def unreached(address, asked):
    """What no script asks for, as (API, what is missing)."""
    for name, (low, high) in sorted(served(address).items()):
        versions = {version for api, version in asked if api == name}
        if name == "Produce":
            low = 3  # the versions before it are advertised, and refused
        if low not in versions:
            yield name, f"its lowest version, {low}"
        if high not in versions:
            yield name, f"its highest version, {high}"
        if high - low > 1 and not any(low < version < high for version in versions):
            yield name, f"any version between {low} and {high}"
