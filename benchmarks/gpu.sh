#!/usr/bin/env bash
# What to run on a GPU that is lent for ten minutes: one model trained and scored, beside others.
#
#   benchmarks/gpu.sh counterfact.jsonl OUT [MODEL]
#
# MODEL is qwen2.5-coder-1.5b if not given. Cells of the main table go to OUT, one after the other:
# run again, it goes on. It stops by itself in time.
#
#   PYTHON   an interpreter with torch for the GPU and what LKS needs (python3)
#   METHODS  editors, the first ones first ("unedited lks inject rag")
#   SIZES    numbers of edits ("10 100")
#   LIMIT    seconds in all (540)
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$(realpath "$1") out=$(realpath -m "$2") model=${3:-qwen2.5-coder-1.5b}
read -ra methods <<<"${METHODS:-unedited lks inject rag}"
read -ra sizes <<<"${SIZES:-10 100}"
here=$(dirname "$(realpath "$0")")
export PYTHONPATH="$here/../src${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
"$python" -c 'import torch, lks' 2>/dev/null ||
    { echo "$python lacks torch or what LKS needs; name another interpreter: PYTHON=..." >&2; exit 2; }
mkdir -p "$out"
"$python" - <<'END' | tee "$out/device.txt"
import torch
there = torch.cuda.is_available()
print(torch.cuda.get_device_name() if there else "no GPU: this runs on the CPU", torch.__version__)
END
timeout --kill-after=10 "${LIMIT:-540}" "$python" "$here/main_table.py" "$data" --out "$out" \
    --model "$model" --methods "${methods[@]}" --sizes "${sizes[@]}" --seeds 0 ||
    { code=$?; [ "$code" = 124 ] && echo "stopped in time; run again, it goes on"; exit "$code"; }
