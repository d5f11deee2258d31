"""Amazon EC2: its metadata service, version 2 or, where there is no other, version 1."""

from __future__ import annotations

from collections.abc import Mapping

from firstboot.fetch.imds import BASE, Imds
from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata_service import Service, UserData, describe_values, read_indexed_keys


def _log_in(service: Service) -> Mapping[str, str]:
    return Imds(service.web, service.deadline).get_session_headers()


PLATFORM = Platform(
    firmware=(("sys_vendor", "Amazon EC2"),),
    config="user data of the metadata service, version 2, or 1 where there is no other",
    fetch_config=UserData(f"{BASE}/2019-10-01/user-data", log_in=_log_in).fetch,
    needs_network=True,
    addresses={
        "169.254.170.2": "Amazon ECS, credentials of a task",
        "169.254.170.23": "Amazon EKS, credentials of a pod",
        "fd00:ec2::23": "Amazon EKS, credentials of a pod",
        "fd00:ec2::254": "Amazon EC2",
    },
    metadata=describe_values(
        f"{BASE}/2021-01-03/meta-data",
        {
            "HOSTNAME": "hostname",
            "PUBLIC_HOSTNAME": "public-hostname",
            "IPV4_LOCAL": "local-ipv4",
            "IPV4_PUBLIC": "public-ipv4",
            "IPV6": "ipv6",
            "AVAILABILITY_ZONE": "placement/availability-zone",
            "AVAILABILITY_ZONE_ID": "placement/availability-zone-id",
            "INSTANCE_ID": "instance-id",
            "INSTANCE_TYPE": "instance-type",
            "REGION": "placement/region",
        },
        log_in=_log_in,
        ssh_keys=read_indexed_keys,
    ),
)
