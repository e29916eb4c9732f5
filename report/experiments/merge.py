"""Several runs of the same experiment as one: one series per scenario."""

from __future__ import annotations

from collections.abc import Sequence

from studies.experiments.model import Experiment, ExperimentError


def merge(found: Sequence[Experiment]) -> Experiment:
    """One experiment with the series of all, in order; what they share is the first's.

    :raises ExperimentError: they are of different experiments, or two have a series of one name.
    """
    first, *others = found
    if not others:
        return first
    names = {each.name for each in found}
    if len(names) > 1:
        raise ExperimentError(f"not of the same experiment: {', '.join(sorted(names))}")
    subjects = [series.subject for each in found for series in each.series]
    twice = {subject for subject in subjects if subjects.count(subject) > 1}
    if twice:
        raise ExperimentError(f"more than one series is called {', '.join(sorted(twice))}")
    return first.model_copy(
        update={
            "series": [series for each in found for series in each.series],
            "started": min(each.started for each in found),
            "finished": max(each.finished for each in found),
            "seconds": sum(each.seconds for each in found),
            "command": "\n".join(dict.fromkeys(each.command for each in found)),
            "warnings": list(dict.fromkeys(text for each in found for text in each.warnings)),
        }
    )
