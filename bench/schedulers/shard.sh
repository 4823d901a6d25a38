#!/usr/bin/env bash
# Runs shard i of n of a job, or goes on with it: a scheduler may start it again as often as it likes.
#
#   shard.sh collide i n prompts.txt folder [options of "preimage collide"]
#   shard.sh invert  i n states      folder [options of "preimage invert"]
#
# The result is folder/part-i.json (collide) or folder/part-i.jsonl (invert). PREIMAGE is the command, "npx preimage"
# if unset. Exits with 0 when the shard is finished, whatever it found, and with preimage's code when it is not.
set -uo pipefail

command=$1 shard=$2 shards=$3 input=$4 folder=$5
shift 5

case $command in
  collide) part=$folder/part-$shard.json ;;
  invert) part=$folder/part-$shard.jsonl ;;
  *) echo "shard.sh: $command is neither collide nor invert" >&2; exit 2 ;;
esac
mkdir -p "$folder" || exit 2
# The file of collide is there, whole, when the shard is finished; invert looks for itself.
[ "$command" = collide ] && [ -e "$part" ] && exit 0

${PREIMAGE:-npx preimage} "$command" "$input" --shard "$shard/$shards" -o "$part" --resume --quiet "$@"
code=$?
# A collision, or a text that is not exact, is a result: the merged file tells.
[ "$code" -eq 1 ] && exit 0
exit "$code"
