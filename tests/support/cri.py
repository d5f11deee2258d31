"""The Kubernetes Container Runtime Interface (runtime.v1), as far as the tests call it: gRPC over the messages below.

A message is a table of its fields: their numbers in ``api.proto`` of the CRI, and their types. What a server sends
besides them is left out, as every reader of protocol buffers does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

Message = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """A field: ``kind`` is ``text``, ``bytes``, ``int``, ``map`` (of text to text) or the name of a message."""

    number: int
    kind: str
    repeated: bool = False


def _list_fields(text: str) -> dict[str, Wanted]:
    """``NAME=NUMBER:KIND``, with ``*`` after it if there may be several."""
    fields = {}
    for word in text.split():
        name, _, rest = word.partition("=")
        number, _, kind = rest.partition(":")
        fields[name] = Wanted(int(number), kind.rstrip("*"), kind.endswith("*"))
    return fields


MESSAGES: Mapping[str, Mapping[str, Wanted]] = {
    name: _list_fields(fields)
    for name, fields in {
        "VersionRequest": "version=1:text",
        "VersionResponse": "runtime_name=2:text runtime_version=3:text runtime_api_version=4:text",
        "StatusRequest": "",
        "StatusResponse": "status=1:RuntimeStatus",
        "RuntimeStatus": "conditions=1:RuntimeCondition*",
        "RuntimeCondition": "type=1:text status=2:int reason=3:text message=4:text",
        "PodSandboxMetadata": "name=1:text uid=2:text namespace=3:text attempt=4:int",
        "PortMapping": "protocol=1:int container_port=2:int host_port=3:int host_ip=4:text",
        "LinuxPodSandboxConfig": "cgroup_parent=1:text security_context=2:LinuxSandboxSecurityContext",
        "LinuxSandboxSecurityContext": "namespace_options=1:NamespaceOption",
        "NamespaceOption": "network=1:int pid=2:int ipc=3:int",
        "PodSandboxConfig": "metadata=1:PodSandboxMetadata hostname=2:text log_directory=3:text "
        "port_mappings=5:PortMapping* labels=6:map linux=8:LinuxPodSandboxConfig",
        "RunPodSandboxRequest": "config=1:PodSandboxConfig runtime_handler=2:text",
        "RunPodSandboxResponse": "pod_sandbox_id=1:text",
        "PodSandboxStatusRequest": "pod_sandbox_id=1:text",
        "PodSandboxStatusResponse": "status=1:PodSandboxStatus",
        "PodSandboxStatus": "id=1:text state=3:int network=5:PodSandboxNetworkStatus",
        "PodSandboxNetworkStatus": "ip=1:text",
        "StopPodSandboxRequest": "pod_sandbox_id=1:text",
        "StopPodSandboxResponse": "",
        "RemovePodSandboxRequest": "pod_sandbox_id=1:text",
        "RemovePodSandboxResponse": "",
        "ContainerMetadata": "name=1:text attempt=2:int",
        "ImageSpec": "image=1:text",
        "LinuxContainerResources": "cpu_period=1:int cpu_quota=2:int cpu_shares=3:int memory_limit_in_bytes=4:int",
        "LinuxContainerConfig": "resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext",
        "LinuxContainerSecurityContext": "privileged=2:int namespace_options=3:NamespaceOption",
        "ContainerConfig": "metadata=1:ContainerMetadata image=2:ImageSpec command=3:text* args=4:text* labels=9:map "
        "log_path=11:text linux=15:LinuxContainerConfig",
        "CreateContainerRequest": "pod_sandbox_id=1:text config=2:ContainerConfig sandbox_config=3:PodSandboxConfig",
        "CreateContainerResponse": "container_id=1:text",
        "StartContainerRequest": "container_id=1:text",
        "StartContainerResponse": "",
        "StopContainerRequest": "container_id=1:text timeout=2:int",
        "StopContainerResponse": "",
        "RemoveContainerRequest": "container_id=1:text",
        "RemoveContainerResponse": "",
        "ContainerStatusRequest": "container_id=1:text",
        "ContainerStatusResponse": "status=1:ContainerStatus",
        "ContainerStatus": "id=1:text state=3:int exit_code=7:int",
        "ExecSyncRequest": "container_id=1:text cmd=2:text* timeout=3:int",
        "ExecSyncResponse": "stdout=1:bytes stderr=2:bytes exit_code=3:int",
        "ContainerStatsRequest": "container_id=1:text",
        "ContainerStatsResponse": "stats=1:ContainerStats",
        "ContainerStats": "cpu=2:CpuUsage memory=3:MemoryUsage",
        "CpuUsage": "timestamp=1:int usage_core_nano_seconds=2:UInt64Value",
        "MemoryUsage": "timestamp=1:int working_set_bytes=2:UInt64Value",
        "UInt64Value": "value=1:int",
        "ListContainersRequest": "",
        "ListContainersResponse": "containers=1:ContainerStatus*",
        "ListPodSandboxRequest": "",
        "ListPodSandboxResponse": "items=1:PodSandboxStatus*",
        "ListImagesRequest": "",
        "ListImagesResponse": "images=1:Image*",
        "Image": "id=1:text repo_tags=2:text* repo_digests=3:text* size=4:int",
        "PullImageRequest": "image=1:ImageSpec",
        "PullImageResponse": "image_ref=1:text",
    }.items()
}
RUNNING = 1
"""``CONTAINER_RUNNING`` of ``ContainerState``."""
_OF_IMAGES = ("ListImages", "PullImage")


class Client:
    """Calls of a CRI server: ``client.call("ExecSync", container_id=..., cmd=[...])`` returns the response's fields."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, *, seconds: float = 600, **fields: Any) -> Message:
        """One call.

        Raises:
            grpc.RpcError: the server refused it, or did not answer in time.
        """
        service = "ImageService" if method in _OF_IMAGES else "RuntimeService"
        call = self._channel.unary_unary(
            f"/runtime.v1.{service}/{method}",
            request_serializer=lambda message: encode(f"{method}Request", message),
            response_deserializer=lambda data: decode(f"{method}Response", data),
        )
        answer: Message = call(fields, timeout=seconds, wait_for_ready=True)
        return answer


def encode(kind: str, message: Message) -> bytes:
    """A message in protocol buffers' wire format."""
    out = bytearray()
    for name, value in message.items():
        field = MESSAGES[kind][name]
        for each in value if field.repeated else value.items() if field.kind == "map" else [value]:
            if field.kind == "int":
                out += _encode_number(field.number << 3) + _encode_number(each)
                continue
            data = _encode_value(field.kind, each)
            out += _encode_number(field.number << 3 | 2) + _encode_number(len(data)) + data
    return bytes(out)


def _encode_value(kind: str, value: Any) -> bytes:
    if kind == "map":
        return b"".join(
            bytes([number << 3 | 2]) + _encode_number(len(text.encode())) + text.encode()
            for number, text in enumerate(value, 1)
        )
    return str(value).encode() if kind == "text" else bytes(value) if kind == "bytes" else encode(kind, value)


def decode(kind: str, data: bytes) -> Message:
    """The fields that are there; repeated ones are always."""
    fields = {field.number: (name, field) for name, field in MESSAGES[kind].items()}
    message: Message = {name: [] for name, field in fields.values() if field.repeated}
    for number, value in _split(data):
        if number not in fields:
            continue
        name, field = fields[number]
        if isinstance(value, bytes) and field.kind != "bytes":
            value = value.decode() if field.kind == "text" else decode(field.kind, value)
        if field.repeated:
            message[name].append(value)
        else:
            message[name] = value
    return message


def _encode_number(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _split(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: varints, and what has a length. Fixed ones are passed over."""
    at = 0

    def read_number() -> int:
        nonlocal at
        result = shift = 0
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while at < len(data):
        tag = read_number()
        match tag & 7:
            case 0:
                yield tag >> 3, read_number()
            case 2:
                length = read_number()
                yield tag >> 3, data[at : at + length]
                at += length
            case 1:
                at += 8
            case 5:
                at += 4
            case other:
                raise ValueError(f"a field of protocol buffers cannot be of type {other}")
