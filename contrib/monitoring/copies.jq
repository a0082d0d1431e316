# How fresh the copies are, asked on the target:
# zab-list ... | jq -rs --arg backup NAME -f copies.jq

"# HELP zab_copy_newest_snapshot_timestamp_seconds When the newest snapshot was made.",
"# TYPE zab_copy_newest_snapshot_timestamp_seconds gauge",
(.[] | select((.snapshots // []) != []) |
	"zab_copy_newest_snapshot_timestamp_seconds{backup=\($backup | @json),dataset=\(.name | @json)} \(.snapshots[-1].creation)")
