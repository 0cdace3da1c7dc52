#!/usr/bin/env bash
#SBATCH --job-name=fairsweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#
# A study on the nodes of one Slurm job:
#
#   sbatch cluster/slurm.sh study.yaml /shared/results/study
#
# The results folder must be on a file system that all nodes share. Two minutes before the time is
# up, Slurm's signal stops the study in order; submitting the same line again continues it.
set -euo pipefail

study="$1"
results="$2"
port=6379

# Nobody else on these nodes may join, or send work to, this Ray.
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
# Ray's own default gives trials the lowest priority on a node.
RAY_worker_niceness=0
export RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_worker_niceness

head="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
address="$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')"

srun --nodes=1 --ntasks=1 --overlap -w "$head" \
    ray start --head --node-ip-address="$address" --port="$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --block &
sleep 15
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes="$((SLURM_JOB_NUM_NODES - 1))" --ntasks-per-node=1 --overlap --exclude="$head" \
        ray start --address="$address:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
    sleep 15
fi

# The driver runs here, on the first node, and is told of the signal; its exit code is the job's.
fairsweep run "$study" --results "$results" --address "$address:$port" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
# A signal ends the first wait; the driver then takes some seconds to stop.
while kill -0 "$driver" 2>/dev/null; do
    code=0
    wait "$driver" || code=$?
done
exit "$code"
