#!/bin/sh
# One stage of SSRL's training as its authors published it: the four scripts train_ssrl_stageN.sh call this one.
#
#     scripts/train_ssrl_stage1.sh --features features --labels labels.csv
#     scripts/train_ssrl_stage2.sh --features features --labels labels.csv     # then 3 and 4
#
# All four train one run, runs/ssrl. Stage 1 learns from the crops; each further stage starts from the best of the
# one before and adds a scale of patches. A stage that was stopped goes on; stages that are missing are trained first.
# Options are those of `ssrl-pipeline train`, the same for all four: `--name` for another run, `-c shanghaitech` or
# `-c ucf_crime` with `-o data.layout=released` for the published features, `--select-on test` as published.
#
# torchrun's launcher starts one process for each GPU, or PROCESSES of them, also on a CPU. Without `-c`, each process
# has 4 normal and 4 abnormal videos in a batch, as published for 8 GPUs. PYTHON names the interpreter, otherwise
# .venv's if there is one.
set -eu
stage=$1
shift
python="$(dirname "$0")/../.venv/bin/python"
if [ ! -x "$python" ]; then python=python; fi
python="${PYTHON:-$python}"
processes="${PROCESSES:-$("$python" -c 'import torch; print(max(1, torch.cuda.device_count()))')}"
if [ "$processes" -gt 1 ] && [ -z "${OMP_NUM_THREADS:-}" ]; then
    OMP_NUM_THREADS=$(($(getconf _NPROCESSORS_ONLN) / processes))
    if [ "$OMP_NUM_THREADS" -lt 1 ]; then OMP_NUM_THREADS=1; fi
    export OMP_NUM_THREADS
fi
case " $* " in
*" -c"* | *" --config"*) ;;
*) set -- -c reference -o "train.batch_size=$((4 * processes))" "$@" ;;
esac
exec "$python" -m ssrl_pipeline train --name ssrl --devices "$processes" "$@" -o "train.last_stage=$stage"
