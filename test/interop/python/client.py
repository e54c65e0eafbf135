"""Plays the story of story.ts over gRPC and prints what it saw as JSON.

Needs what grpc_tools.protoc generates of proto/ on its path; see python-client.test.ts.

    client.py TARGET REPOSITORY        TARGET is HOST:PORT or unix:/path
"""

import json
import pathlib
import sys
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from leasehold.v1 import event_pb2, lease_pb2
from leasehold.v1 import workspace_service_pb2 as messages
from leasehold.v1 import workspace_service_pb2_grpc as services

DEADLINE_SECONDS = 20


def play(target: str, repository: str) -> dict:
    holder = "python " + target.split(":")[0]
    with grpc.insecure_channel(target) as channel:
        leases = services.WorkspaceServiceStub(channel)
        changes = leases.Watch(messages.WatchRequest(holder=holder), timeout=DEADLINE_SECONDS)
        first = next(changes)
        assert first.HasField("snapshot_end"), first

        request = messages.AcquireRequest(
            request_id=f"{holder} {time.time_ns()}",
            repository=repository,
            holder=holder,
            labels={"job": "interop"},
        )
        acquired = leases.Acquire(request, timeout=DEADLINE_SECONDS)
        again = leases.Acquire(request, timeout=DEADLINE_SECONDS)
        lease_id, token = acquired.lease.lease_id, acquired.lease_token
        proof = {"lease_id": lease_id, "lease_token": token}
        readme = pathlib.Path(acquired.workspace.path, "README.md").read_text()

        renewed = leases.Heartbeat(messages.HeartbeatRequest(ttl=Duration(seconds=120), **proof))
        remaining = renewed.lease.remaining
        listed = leases.ListActive(messages.ListActiveRequest(holder=holder))

        forged = messages.HeartbeatRequest(lease_id=lease_id, lease_token=token[:-2] + "AA")
        wrong = messages.AcquireRequest(ttl=Duration(seconds=-1))
        seen = {
            "leaseId": lease_id,
            "sameLease": (again.lease.lease_id, again.lease_token) == (lease_id, token),
            "readme": readme,
            "source": messages.WorkspaceSource.Name(acquired.source),
            "remainingSeconds": remaining.seconds + remaining.nanos / 1e9,
            "active": [workspace.lease.lease_id for workspace in listed.workspaces],
            "labels": dict(listed.workspaces[0].lease.labels),
            "forged": refusal(leases.Heartbeat, forged),
            "wrong": refusal(leases.Acquire, wrong),
            "alreadyReleased": [
                leases.Release(messages.ReleaseRequest(**proof)).already_released for _ in range(2)
            ],
            "late": refusal(leases.Heartbeat, messages.HeartbeatRequest(**proof)),
            "events": [],
        }
        for change in changes:
            event = change.event
            if event.lease_id != lease_id:
                continue
            seen["events"].append(event_pb2.EventKind.Name(event.kind))
            if event.kind == event_pb2.EVENT_KIND_LEASE_ENDED:
                seen["endReason"] = lease_pb2.LeaseEndReason.Name(event.reason)
                break
        changes.cancel()
        return seen


def refusal(call, request) -> dict:
    """What the server said when it refused, with its details."""
    try:
        call(request, timeout=DEADLINE_SECONDS)
    except grpc.RpcError as error:
        info, faults = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in rpc_status.from_call(error).details:
            for known in (info, faults):
                if detail.Is(known.DESCRIPTOR):
                    detail.Unpack(known)
        return {
            "code": error.code().name,
            "domain": info.domain,
            "reason": info.reason,
            "fields": sorted(fault.field for fault in faults.field_violations),
        }
    return {"code": "OK", "domain": "", "reason": "", "fields": []}


if __name__ == "__main__":
    print(json.dumps(play(*sys.argv[1:])))
