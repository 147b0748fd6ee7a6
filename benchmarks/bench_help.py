"""Time of `finetune --help`, which loads neither AWS's SDK nor the package: the limit is 0.35 s.

Measured as CPU time of a new process, the least of several, because a busy machine makes wall time longer.
"""

import resource
import subprocess
import sys

LIMIT_SECONDS = 0.35
RUNS = 7


def cpu_seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "finetuning_cli", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    least = min(cpu_seconds() for _ in range(RUNS))
    print(f"finetune --help: {least:.2f} s of CPU, limit {LIMIT_SECONDS} s")
    sys.exit(least > LIMIT_SECONDS)
