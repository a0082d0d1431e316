# Metrics of a run, from its final records: zab --json ... | jq -rsf results.jq
# JSON's way to write a string is also that of Prometheus.

def labels: "{backup=\(.backup | @json),dataset=\(.name | @json)}";
def metric($name; $help; value):
	"# HELP \($name) \($help)", "# TYPE \($name) gauge", (.[] | "\($name)\(labels) \(value)");

if . == [] then empty else
	metric("zab_dataset_failed"; "Whether the dataset failed in the last run.";
		if .error then 1 else 0 end),
	metric("zab_dataset_sent_bytes"; "Bytes sent in the last run.";
		[.results[]? | select(.do == "receive" and .done) | .bytes // 0] | add // 0),
	metric("zab_dataset_destroyed_snapshots"; "Snapshots destroyed in the last run, on both sides.";
		[.thin | .source[]?, .target[]? | select(.destroyed)] | length)
end
