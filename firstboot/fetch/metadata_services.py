"""Addresses at which platforms hand out metadata, user data and credentials to whoever asks from inside a machine.

The one list of them: redirects may lead to none, containers may ask none (``metadata-guard.nft``; a test compares).
"""

SERVICES = {
    "100.100.100.200": "Alibaba Cloud",
    "168.63.129.16": "Azure, the wire server",
    "169.254.0.23": "Tencent Cloud",
    "169.254.42.42": "Scaleway",
    "169.254.169.254": "nearly all",
    "169.254.170.2": "Amazon ECS, credentials of a task",
    "169.254.170.23": "Amazon EKS, credentials of a pod",
    "fd00:42::42": "Scaleway",
    "fd00:c1::a9fe:a9fe": "Oracle Cloud",
    "fd00:ec2::23": "Amazon EKS, credentials of a pod",
    "fd00:ec2::254": "Amazon EC2",
    "fd20:ce::254": "Google Cloud",
    "fe80::a9fe:a9fe": "OpenStack",
}
