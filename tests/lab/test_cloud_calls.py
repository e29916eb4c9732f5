"""Calls of the EC2 API as they are written down."""

from __future__ import annotations

from pathlib import Path

from lab.cloud.ec2 import Call
from tests.lab.recorded import read_calls

SIGNED = (
    "AWS4-HMAC-SHA256 Credential=cilium-operator/20261124/ap-northeast-2/ec2/aws4_request, "
    "SignedHeaders=content-length;content-type;host;x-amz-date, Signature=00"
)
ASSIGN = (
    b"Action=AssignPrivateIpAddresses&Ipv4PrefixCount=1&NetworkInterfaceId=eni-0a"
    b"&Version=2016-11-15"
)
REFUSED = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<Response><Errors><Error>'
    b"<Code>InsufficientCidrBlocks</Code><Message>1 /28</Message></Error></Errors></Response>"
)


def test_a_call_is_who_what_and_how_it_ended() -> None:
    assert Call.of(SIGNED, ASSIGN, "200 OK", b"<AssignPrivateIpAddressesResponse/>") == Call(
        caller="cilium-operator",
        action="ec2:AssignPrivateIpAddresses",
        request={"Ipv4PrefixCount": "1", "NetworkInterfaceId": "eni-0a"},
        status=200,
    )


def test_a_refused_call_has_its_code_and_changes_nothing() -> None:
    call = Call.of(SIGNED, ASSIGN, "400 BAD REQUEST", REFUSED)
    assert (call.status, call.error) == (400, "InsufficientCidrBlocks")
    assert not call.changes


def test_reading_changes_nothing_and_all_else_does() -> None:
    def changes(action: bytes) -> bool:
        return Call.of(SIGNED, b"Action=" + action, "200 OK", b"").changes

    assert not changes(b"DescribeVpcs")
    assert changes(b"UnassignPrivateIpAddresses")
    assert changes(b"DeleteNetworkInterface")


def test_a_change_has_the_ids_of_its_answer_each_once_and_nothing_else_has() -> None:
    made = (
        b"<attachmentId>eni-attach-1f</attachmentId><networkInterfaceId>eni-0a</networkInterfaceId>"
        b"<subnetId>subnet-2b</subnetId><x>eni-0a</x><requestId>59dbff89-35bd</requestId>"
    )
    create, read = b"Action=CreateNetworkInterface", b"Action=DescribeNetworkInterfaces"
    assert Call.of(SIGNED, create, "200 OK", made).ids == ("eni-attach-1f", "eni-0a", "subnet-2b")
    assert Call.of(SIGNED, create, "400 BAD REQUEST", made).ids == ()
    assert Call.of(SIGNED, read, "200 OK", made).ids == ()


def test_who_does_not_sign_has_no_name() -> None:
    call = Call.of("", b"", "404 NOT FOUND", b"")
    assert (call.caller, call.action) == ("", "unknown:")


def test_they_are_read_back_but_for_a_line_that_is_still_written(tmp_path: Path) -> None:
    calls = [
        Call.of(SIGNED, ASSIGN, "200 OK", b""),
        Call.of(SIGNED.replace("cilium-operator", "lab"), b"Action=CreateVpc", "200 OK", b""),
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(f"{call.to_json()}\n" for call in calls) + calls[0].to_json()[:-5])
    assert read_calls(file) == calls
