"""What :mod:`components.benchmark` runs to get its results: on this machine, or in a pod."""

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from bench.checks import PreconditionError
from bench.interleave import BenchmarkError, run_benchmark
from bench.journal import write_whole
from bench.plan import Plan
from bench.results import Results
from bench.session import SessionError
from bench.workloads import RUNNER_IMAGE
from components.dynamic import UserError, say
from components.runner import UnfinishedError
from components.runner.pod import Place, Runner
from components.state import failed_results, history, runner_journal
from components.targets import open_session
from lab.machine import gave_up
from report.history import keep_result


def measure(props: Mapping[str, Any]) -> Results:
    """Measure what a benchmark's inputs ask for, and keep it in the history.

    :raises UserError: a metric lost its minimum (what was measured is kept in a file), the pod that
        measures did not come to its end, or nothing could be measured.
    """
    failed = failed_results(props["stack"])
    try:
        results = _measured(props, Plan.from_dict(json.loads(props["plan"])))
    except BenchmarkError as error:
        failed.parent.mkdir(parents=True, exist_ok=True)
        write_whole(failed, error.results.to_json())
        raise UserError(
            f"the benchmark failed: {error}\nWhat was measured is in {failed}; see it by: "
            f"python -m bench show --file {failed}"
        ) from None
    except UnfinishedError as error:
        raise UserError(f"the benchmark did not come to its end: {error}") from None
    except (PreconditionError, SessionError) as error:
        raise UserError(f"nothing was measured: {error}") from None
    failed.unlink(missing_ok=True)
    keep_result(history(), "up", props["stack"], results, say)
    return results


def _measured(props: Mapping[str, Any], plan: Plan) -> Results:
    """What a plan gives, wherever it is to be measured from."""
    session = json.loads(props["session"])
    if props.get("index") is None:
        with closing(open_session(session)) as opened:
            return run_benchmark(opened, plan, progress=say)
    digest = json.loads(props.get("digests") or "{}").get(RUNNER_IMAGE)
    image = f"{RUNNER_IMAGE}@{digest}" if digest else RUNNER_IMAGE
    place = Place(image=image, index=props["index"])
    return Runner(session, plan, place, runner_journal(props["stack"]), say, gave_up).measure()
