"""The control beside the Aviary's comparison: a student that starts where its teacher started.

The comparison's teacher begins with weights that learned 200 other species, its students with random ones.
Here the student begins with its own shipped weights and learns the same few labels as the teacher did (new
head first, then all of it), without any teacher. The recipe is the teacher's: nothing was tuned for the
student.

    python benchmarks/pretrained_student.py [--seeds 5]
"""

from __future__ import annotations

import argparse

from labkit.bench import interval, pair, paired, read_results
from labkit.engine import evaluate
from labkit.manifest import machine
from labkit.profiles import preset


def main() -> None:
    """Print the accuracy of the pretrained student, and the paired difference of each method from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="as in the comparison: 0 to SEEDS - 1")
    seeds = parser.parse_args().seeds
    s, results = preset("aviary"), read_results("aviary")
    net, budget = s.student | {"weights": "pretrained"}, s.tuned_at
    ours = [
        evaluate(pair.adapted(s, seed, budget, net=net)[0], pair.few(s, budget, seed).test).accuracy
        for seed in range(seeds)
    ]
    print(f"{machine()}; {budget} labels per class, {seeds} seeds, test accuracy in %")
    print(f"{net['name']}, pretrained, no teacher: {interval(ours)}")
    for method in s.methods:
        theirs = results.values(experiment="main", method=method, per_class=budget)[:seeds]
        print(f"{method:>16}: {interval(theirs)}, minus the pretrained student {paired(theirs, ours)}")


if __name__ == "__main__":
    main()
