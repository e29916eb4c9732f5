"""What documents show of data is what the data say."""

from bench.results import from_json
from components.eks.settings import EksSettings
from components.targets import settings_of
from studies.upgrade import SIDES
from tests.components.stack_config import EKS, pulumi_config
from tests.documents import (
    EXPERIMENTS,
    FILLED,
    PROJECT,
    SHOWN,
    UPGRADE,
    commands,
    copied,
    filled,
)


def test_documents_show_what_is_in_the_data_beside_them() -> None:
    for document in FILLED:
        assert filled(document) == document.read_text(encoding="utf-8")
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- results: {SHOWN.relative_to(PROJECT)} -->\n```\n" in readme
    assert "rtt_p50" in readme


def test_kube_proxy_is_scaled_on_the_oldest_and_the_newest_kubernetes() -> None:
    made = {file.stem: words for file, words in commands().items()}
    for stack, mode, version in (
        ("scale-iptables-1.31", "iptables", "1.31"),
        ("scale-nftables-1.36", "nftables", "1.36"),
    ):
        assert made[stack][:1] + made[stack][-2:] == ["scale", "--stack", stack]
        tree = {key.partition(":")[2]: value for key, value in copied(stack)["config"].items()}
        tree["eks"] = EKS | tree["eks"]  # as the project's defaults do
        settings = settings_of(pulumi_config(tree), stack)
        assert settings.scenario.kube_proxy == mode
        assert settings.section(EksSettings).version == version


def test_data_that_is_there_is_made_by_its_own_command() -> None:
    words = commands()[EXPERIMENTS / "hops-a.json"]
    assert words[0] == "hops"


def test_an_upgrade_is_shown_with_what_its_metrics_are_compared_by() -> None:
    """Without, the page would have other effects than the command that made the data."""
    for side in SIDES:
        kept = from_json((UPGRADE / f"{side}.json").read_text(encoding="utf-8")).metrics
        deciders = {each.decided_by for each in kept.values()} - {None}
        assert "rtt_p10" in deciders
        assert deciders <= kept.keys()
