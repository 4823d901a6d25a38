#!/usr/bin/env bash
# All shards of a test of injectivity under GNU parallel, then the merge.
#
#   SHARDS=8 JOBS=2 bench/schedulers/parallel.sh prompts.txt folder [options of "preimage collide"]
#
# A shard that dies is tried again, twice, and goes on from where it was; so does the whole when this is run again.
# The result is folder/all.json. More machines: parallel's --sshlogin, with the folder on a disk they share.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
shards=${SHARDS:-8}
input=$1 folder=$2
shift 2
mkdir -p "$folder"

seq 0 $((shards - 1)) |
  parallel --jobs "${JOBS:-1}" --retries 3 --joblog "$folder/jobs.log" \
    "$here/shard.sh" collide {} "$shards" "$input" "$folder" "$@"
${PREIMAGE:-npx preimage} collide merge "$folder"/part-*.json -o "$folder/all.json" --force
