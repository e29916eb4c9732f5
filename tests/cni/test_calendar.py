"""What stops working when: told by the versions' tables, on a day that is set."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

from cni import kubernetes
from cni.calendar import calendar, events
from cni.cilium import versions as cilium
from cni.kubernetes import EKS_SUPPORT
from cni.vpc_cni import versions as vpc_cni
from lab.toolchain import bootstrap, doctor
from lab.toolchain.doctor import Facts
from studies.experiments.policies import API_VERSIONS

ROOT = Path(__file__).parents[2]
SURCHARGE = "Kubernetes 1.34 is in extended support on EKS, at a surcharge"
GONE = "EKS has Kubernetes 1.34 no more, and upgrades clusters"


@pytest.mark.parametrize(
    ("today", "told", "untold"),
    [
        (date(2026, 12, 1), [f"from  2026-12-02  {SURCHARGE}", f"from  2027-12-02  {GONE}"], ""),
        (date(2026, 12, 2), [f"since 2026-12-02  {SURCHARGE}", f"from  2027-12-02  {GONE}"], ""),
        (date(2027, 12, 2), [f"since 2027-12-02  {GONE}"], SURCHARGE),
    ],
)
def test_a_days_calendar(today: date, told: list[str], untold: str) -> None:
    lines = [line.strip() for line in calendar(today)]
    assert set(told) <= set(lines)
    assert not untold or not any(untold in line for line in lines)


def test_a_cni_ends_with_the_last_kubernetes_that_it_is_tested_with() -> None:
    lines = [line.strip() for line in calendar(date(2026, 11, 29))]
    tested = "EKS has no Kubernetes that Cilium 1.16.5 is tested with (1.27 to 1.30)"
    assert f"since 2026-07-23  {tested}" in lines
    known = (
        "EKS has no Kubernetes that is known to have the VPC CNI 1.19.2 as an add-on (up to 1.32)"
    )
    assert f"from  2027-03-23  {known}" in lines


def test_every_version_that_the_project_has_is_in_it_and_in_the_order_of_days() -> None:
    days = [event.day for event in events()]
    assert days == sorted(days)
    text = "\n".join(event.what for event in events())
    for name in (*cilium.VERSIONS, *vpc_cni.VERSIONS, *kubernetes.VERSIONS):
        assert re.search(rf" {re.escape(name)}[ ,]", text), name
    assert f"Kubernetes {kubernetes.DEFAULT}, which is the default, is in extended" in text
    assert all(each.standard < each.extended for each in EKS_SUPPORT.values())


def test_no_api_in_use_is_on_its_way_out() -> None:
    """Kubernetes only removes versions of APIs that are no stable ones ("Deprecation policy")."""
    text = (ROOT / "components/kubernetes/manifests.yaml").read_text()
    used = {
        each["apiVersion"]
        for each in yaml.safe_load(text).values()
        if isinstance(each, dict) and "apiVersion" in each
    }
    assert used == {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1"}
    assert not [each for each in API_VERSIONS.values() if "alpha" in each or "beta" in each]


def test_the_doctor_tells_it_also_where_the_lab_does_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "gather", lambda: Facts(system="Darwin"))
    assert bootstrap.main(["doctor"]) != 0
    assert "EKS has Kubernetes 1.36 no more" in capsys.readouterr().out


@pytest.mark.process
def test_nothing_has_to_be_installed_for_it() -> None:
    words = "from cni.calendar import calendar; import datetime; list(calendar(datetime.date.max))"
    subprocess.run([sys.executable, "-S", "-c", words], cwd=ROOT, check=True)
