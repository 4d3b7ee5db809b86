"""Runs scripts/extract-on-ray on a Ray cluster of three nodes on this machine, and kills one node halfway.

  on_ray.py SCRIPT DATASET CACHE [options of the script]
"""
import subprocess
import sys
import time
from pathlib import Path

from ray.cluster_utils import Cluster

script, dataset, cache, *options = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
try:
    nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(3)]
    cluster.wait_for_nodes()
    address = ["--address", cluster.address]
    run = subprocess.Popen([sys.executable, script, dataset, "--out", cache, *address, *options])
    shards = Path(cache, "shards")
    # Halfway means that some shards are done and another is being computed.
    while run.poll() is None and len(list(shards.glob("[0-9]*-of-*/manifest.json"))) < 3:
        time.sleep(0.05)
    while run.poll() is None and not list(shards.glob(".*.extract/rows")):
        time.sleep(0.01)
    assert run.poll() is None, "the run ended before a node was killed"
    # SIGKILL to the node's processes.
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("killed one of three nodes", file=sys.stderr)
    sys.exit(run.wait())
finally:
    cluster.shutdown()
