"""An example: a Dask scheduler here, and its workers as SLURM jobs, for the runs of the book.

    python tools/slurm_cluster.py --workers 8 --queue gpu --gpu --walltime 12:00:00
    python tools/slurm_cluster.py --dry-run          prints the script of one job, and ends

Start it on a node that the compute nodes can reach, in the repository's folder on a file system that
all share, with the packages of `pip install -e ".[cluster]"`. It prints the address for
`-p executor dask:…` and the dashboard, and keeps the workers until Ctrl-C. A job that SLURM ends at
its time limit loses only the runs under way. Each worker has one thread of Python, as runs set the
state of torch; `--cores` are the threads that a run may use (`-p threads`).
"""

import argparse
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="slurm_cluster.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="jobs (default: 4)")
    parser.add_argument("--cores", type=int, default=4, metavar="N", help="of each (default: 4)")
    parser.add_argument("--memory", default="16GiB", help="of each (default: 16GiB)")
    parser.add_argument("--walltime", default="04:00:00", help="of each (default: 04:00:00)")
    parser.add_argument("--queue", metavar="NAME", help="partition (default: the cluster's)")
    parser.add_argument("--account", metavar="NAME", help="whom the hours are booked to")
    parser.add_argument("--gpu", action="store_true", help="one GPU for each worker")
    parser.add_argument("--interface", metavar="NAME", help="network, such as ib0")
    parser.add_argument("--dry-run", action="store_true", help="print the job script and end")
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace) -> dict:
    """What dask-jobqueue's SLURMCluster is given: one process with one thread a job."""
    extra = [f"--chdir={ROOT}", *(["--gres=gpu:1"] if options.gpu else [])]
    return {
        "cores": 1,
        "processes": 1,
        "job_cpu": options.cores,
        "memory": options.memory,
        "walltime": options.walltime,
        "queue": options.queue,
        "account": options.account,
        "interface": options.interface,
        "python": sys.executable,
        "job_extra_directives": extra,
        "job_script_prologue": [f'cd "{ROOT}"', f"export OMP_NUM_THREADS={options.cores}"],
    }


def main(arguments: list[str]) -> int:
    options = read_arguments(arguments)
    if min(options.workers, options.cores) < 1:
        print("slurm_cluster.py: at least one worker with one core is needed", file=sys.stderr)
        return 2
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        print(
            'slurm_cluster.py: install the packages with pip install -e ".[cluster]"',
            file=sys.stderr,
        )
        return 2
    with SLURMCluster(**settings(options)) as cluster:
        if options.dry_run:
            print(cluster.job_script())
            return 0
        cluster.scale(jobs=options.workers)
        print(f"-p executor dask:{cluster.scheduler_address}")
        print(f"dashboard: {cluster.dashboard_link}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("the workers are given back")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
