"""One peer in a process of its own: reads commands, one JSON object a line, and answers likewise.

Between commands it sleeps, so that no peer's threads take time from another's.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

from bench.cases import CASES


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr
    module = importlib.import_module(f"bench.peers.{sys.argv[1]}")
    peer, case = None, None
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "prepare":
            case = next(c for c in CASES if c.name == command["case"])
            began = time.perf_counter()
            peer = module.Peer(case)
            losses = peer.run(case.batches(command["steps"]))
            answer = {"losses": losses, "first": time.perf_counter() - began}
            peer.run(case.batches(command["timed"]))
        else:
            batches = case.batches(command["timed"])
            began = time.perf_counter()
            peer.run(batches)
            answer = {"seconds": (time.perf_counter() - began) / len(batches)}
        answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
