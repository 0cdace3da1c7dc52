"""A Ray cluster of two nodes with one processor each, for the tests; run as a script.

Prints its address; takes lines on standard input: ``kill`` ends the second node without notice and
answers ``killed``, the end of the input ends the cluster. A process of its own, because Ray reads
its token when it is first imported.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    try:
        sys.stdout.write(f"address {cluster.address}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            if line.strip() == "kill":
                cluster.remove_node(second, allow_graceful=False)
                sys.stdout.write("killed\n")
                sys.stdout.flush()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
