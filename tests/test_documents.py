"""What documents show of data is what the data say."""

from tests.documents import PROJECT, SHOWN, filled


def test_the_readme_shows_the_results_in_docs_example() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- results: {SHOWN.relative_to(PROJECT)} -->\n```\n" in text
    assert "rtt_p50" in text
    assert filled(text) == text
